"""A small corpus, a world of texts, and one tiny student for what happens to it after training."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel

from data_contracts.artifacts import KeyParts, StageSummary
from data_contracts.evaluation import (
    ClassRow,
    ClassTable,
    Comparison,
    Diagnostics,
    EvaluationReport,
    Metric,
    Speed,
    SystemResult,
    Variant,
)
from tasks import export
from tasks.corpus.tables import write_table
from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import run_stage
from tasks.serving.registry.registry import Registry
from tests.tasks.small_corpus import write_sources
from tests.tasks.twelve_words import TextWorld

LABELS = ("HassClimateGetTemperature", "HassLightSet", "HassTurnOff", "HassTurnOn", "媒体播放")
ROOMS = ("客厅", "卧室", "厨房", "书房", "浴室", "阳台", "车库", "走廊")
REQUESTS = ("打开{}的灯", "关闭{}的灯", "{}现在几度", "把{}的亮度调到百分之五十", "在{}播放音乐")
TEXTS = tuple(request.format(room) for request in REQUESTS for room in ROOMS)


@pytest.fixture
def sources(tmp_path):
    """English training rows, Chinese pairs, Chinese validation and test rows, as files."""
    return write_sources(tmp_path)


@pytest.fixture(scope="session")
def text_world(tmp_path_factory):
    """Teacher, signals and students of texts; its teacher is trained once for all tests."""
    return TextWorld(tmp_path_factory.mktemp("twelve-words"))


@pytest.fixture(scope="session")
def publish():
    """Publish hand-written files as an artifact of a stage that is not under test."""

    def publish_files(store, stage, write, upstream_keys=None, config=None):
        parts = KeyParts(stage=stage, version=1, config=config or {}, upstream={})
        with store.writing(parts) as output:
            write(output)
            return store.publish(
                output,
                parts,
                StageSummary(),
                upstream_keys=upstream_keys or {},
                locations={},
                duration_seconds=0.0,
            )

    return publish_files


@pytest.fixture(scope="session")
def write_texts():
    """Writes {role: {language: texts}} as the rows of a corpus."""

    def write(folder, roles):
        for role, languages in roles.items():
            rows = [(text, language) for language, texts in languages.items() for text in texts]
            columns = dict(zip(("text", "language"), zip(*rows, strict=True), strict=True))
            ids = [f"{role}-{row:04}" for row in range(len(rows))]
            table = pa.table({"example_id": ids, **columns})
            write_table(table, folder / "rows" / role / "part-00000.parquet")

    return write


@pytest.fixture
def letter_encoder(tmp_path):
    """A folder with a random encoder that reads letters."""
    folder = tmp_path / "letter-encoder"
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32, type_vocab_size=1,
    )  # fmt: skip
    BertModel(shape, add_pooling_layer=False).save_pretrained(folder)
    words = {word: number for number, word in enumerate(["[UNK]", *"abcdefghijklmnopqrstuvwxyz"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def small_tokenizer():
    """A Chinese WordPiece tokenizer of the tests' own texts."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(16)
    return tokenizer


@pytest.fixture(scope="session")
def small_student(tmp_path_factory, publish, small_tokenizer):
    """(store, student artifact, tokens artifact) of a student with 0.1M parameters."""
    store = ArtifactStore(tmp_path_factory.mktemp("store"))
    labels = json.dumps({"labels": LABELS}, ensure_ascii=False)

    def write_student(output):
        torch.manual_seed(3)
        shape = StudentArchitecture(
            num_layers=2, hidden_size=64, num_heads=4, intermediate_size=128
        )
        backbone = build_student_backbone(
            shape, vocab_size=small_tokenizer.get_vocab_size(), pad_token_id=0, max_length_tokens=16
        )
        model = EncoderClassifier(backbone, num_labels=5, pooling="mean", dropout=0.1).eval()
        # A head fitted on the five requests, so that answers are clear as after training.
        encoded = small_tokenizer.encode_batch(list(TEXTS))
        with torch.no_grad():
            features = []
            for text in encoded:
                ids = torch.tensor([text.ids])
                hidden = backbone(input_ids=ids, attention_mask=torch.ones_like(ids))
                features.append(hidden.last_hidden_state.mean(1)[0])
            targets = torch.nn.functional.one_hot(torch.arange(40) // 8, 5) * 8.0 - 2.0
            design = torch.cat([torch.stack(features), torch.ones(40, 1)], 1)
            ridge = design.T @ design + 1e-2 * torch.eye(65)
            solution = torch.linalg.solve(ridge, design.T @ targets)
            model.head.weight.copy_(solution[:64].T)
            model.head.bias.copy_(solution[64])
        save_classifier(model, output / "model", problem="text_classification")
        small_tokenizer.save(str(output / "model" / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
        (output / "model" / "tokenizer_config.json").write_text(json.dumps(settings))
        (output / "model" / "labels.json").write_text(labels, encoding="utf-8")
        steps = [{"step": step, "loss": 1.0 / step} for step in range(1, 31)]
        validations = [{"step": 30, "accuracy": 0.97, "macro_f1": 0.96, "loss": 0.1}]
        history = {"steps": steps, "validations": validations, "best_step": 30}
        (output / "history.json").write_text(json.dumps(history))
        training = {"steps_done": 30, "steps_planned": 30, "best_step": 30, "stopped_early": False}
        (output / "training.json").write_text(json.dumps({**training, "seed": 0}))

    def write_tokens(output):
        rows = small_tokenizer.encode_batch(list(TEXTS))
        table = pa.table(
            {
                "example_id": [f"{row:032x}" for row in range(len(TEXTS))],
                "input_ids": pa.array([row.ids for row in rows], pa.list_(pa.int32())),
                "label": pa.array(np.repeat(np.arange(5), 8), pa.int32()),
                "language": ["zh"] * len(TEXTS),
            }
        )
        write_table(table, output / "validation" / "part-00000.parquet")
        facts = {
            "vocab_size": small_tokenizer.get_vocab_size(),
            "pad_token_id": 0,
            "max_length_tokens": 16,
        }
        (output / "tokens.json").write_text(json.dumps(facts))
        (output / "labels.json").write_text(labels, encoding="utf-8")

    return store, publish(store, "student", write_student), publish(store, "tokens", write_tokens)


@pytest.fixture(scope="session")
def exported(small_student):
    """Export artifact of the small student."""
    store, student, tokens = small_student
    inputs = {"student": student, "tokens": tokens}
    return run_stage(export.STAGE, export.Config(), inputs, store=store).artifact


@pytest.fixture(scope="session")
def make_report():
    """A hand-made evaluation report whose gate figures can be chosen."""

    def scores(accuracy):
        return {"accuracy": accuracy, "macro_f1": accuracy, "ece": 0.02}

    def compared(against, difference, low, of="student"):
        return Comparison(
            name=f"{of}_minus_{against}",
            of=of,
            against=against,
            metric="accuracy",
            difference=difference,
            low=low,
            high=2 * difference - low,
            confidence=0.95,
            num_examples=40,
            num_examples_against=40,
            paired=against != "teacher",
            p_value=None,
        )

    def make(
        *,
        accuracy=0.95,
        vs_teacher=(-0.01, -0.03),
        delivered_vs_teacher=None,
        vs_no_kd=(0.02, -0.01),
        vs_floors=None,
        latency=1.5,
        size=1_000_000,
        agreement=1.0,
    ):
        def system(display, kind, language):
            return SystemResult(
                display=display,
                kind=kind,
                language=language,
                num_examples=40,
                seeds=(scores(accuracy),),
                mean=scores(accuracy),
                sd=None,
                num_parameters=100_000,
            )

        def floor(name, difference):
            mean = scores(accuracy - difference)
            update = {"seeds": (mean,), "mean": mean}
            return system(name, "floor", "zh").model_copy(update=update)

        def variant(agreement):
            return Variant(
                scores=scores(accuracy),
                size_bytes=size,
                latency_ms_p50=latency,
                latency_ms_p95=2 * latency,
                throughput_texts_per_second=900.0,
                agreement=agreement,
            )

        row = ClassRow(label="HassTurnOn", precision=1, recall=1, f1=1, support=8)
        return EvaluationReport(
            recipe="small",
            problem="text_classification",
            source_language="en",
            target_language="zh",
            metrics=(
                Metric(name="accuracy", display="accuracy"),
                Metric(name="macro_f1", display="macro-F1"),
                Metric(name="ece", display="ECE", compared=False),
            ),
            systems={
                "teacher": system("Teacher", "teacher", "en"),
                "student": system("Student", "student", "zh"),
                "pseudo_label": system("Hard pseudo-labels", "no_kd", "zh"),
                **{name: floor(name, figures[0]) for name, figures in (vs_floors or {}).items()},
            },
            classes=ClassTable(
                system="student", accuracy=accuracy, rows=(row,), micro=row, macro=row, weighted=row
            ),
            comparisons=(
                compared("teacher", *vs_teacher),
                compared("pseudo_label", *vs_no_kd),
                *(compared(name, *figures) for name, figures in (vs_floors or {}).items()),
            ),
            delivered_comparisons=tuple(
                compared("teacher", *figures, of=form)
                for form, figures in (
                    delivered_vs_teacher or dict.fromkeys(("safetensors", "onnx_int8"), vs_teacher)
                ).items()
            ),
            retention=(),
            variants={"safetensors": variant(1.0), "onnx_int8": variant(agreement)},
            speed=Speed(
                processor="a test",
                num_threads=1,
                batch_size=32,
                num_texts=64,
                rounds=3,
                student_over_teacher=9.0,
                lowest_ratio=8.0,
                highest_ratio=10.0,
                includes="tokenization",
            ),
            calibration={},
            diagnostics=Diagnostics(
                rows="test",
                num_rows=40,
                agreement=0.9,
                agreement_by_class={},
                teacher_entropy_nats=0.1,
                teacher_confidence=0.9,
                pseudo_label_accuracy=None,
            ),
            confusions=(),
            data=(),
            lineage=(),
            notes=("Pairs are made by intent; they stand in for a translation memory.",),
        )

    return make


@pytest.fixture(scope="session")
def publish_evaluation(publish):
    """Publish a report, with the delivered student's answers to `num_examples` test texts."""

    def publish_report(store, report, *, num_wrong=2, num_examples=40, first_id=0, made_of=None):
        def write(output):
            text = report.model_dump_json(indent=2)
            (output / "report.json").write_text(text, encoding="utf-8")
            (output / "report.html").write_text("<!doctype html><title>report</title>")
            (output / "plots").mkdir()
            (output / "plots" / "quality.png").write_bytes(b"\x89PNG\r\n\x1a\n")
            labels = [LABELS[row % 5] for row in range(num_examples)]
            wrong = [LABELS[(row + 1) % 5] for row in range(num_examples)]
            table = pa.table(
                {
                    "example_id": [f"{row + first_id:032x}" for row in range(num_examples)],
                    "label": labels,
                    "prediction": wrong[:num_wrong] + labels[num_wrong:],
                    "confidence": pa.array([0.9] * num_examples, pa.float32()),
                }
            )
            write_table(table, output / "predictions" / "student_0.parquet")
            right = [[float(row >= num_wrong), 1.0] for row in range(num_examples)]
            statistics = pa.table(
                {
                    "example_id": table["example_id"],
                    "gold": [f"{row % 5:016x}" for row in range(num_examples)],
                    "statistics": pa.array(right, pa.list_(pa.float64())),
                }
            )
            write_table(statistics, output / "statistics" / "student_0.parquet")

        config = {"wrong": num_wrong, "examples": num_examples, "first": first_id}
        config = {**config, "report": hash(str(report))}
        return publish(store, "evaluation", write, upstream_keys=made_of, config=config)

    return publish_report


@pytest.fixture(scope="session")
def registry_folder(tmp_path_factory):
    """One home with a migrated MLflow database for all tests: making it takes 5 s.

    With the experiment, whose artifacts would else lie where the first test to need it has them:
    one with a server beside the database left the others none that they could write to.
    """
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DECANT_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert Registry().experiment_id
    return folder


@pytest.fixture
def registry_home(registry_folder, store, monkeypatch):
    """DECANT_HOME of that database, in place of the empty one; tests use a model name each."""
    monkeypatch.setenv("DECANT_HOME", str(registry_folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return registry_folder
