"""The evaluation stage on tiny real models: every figure of the report recomputed from files."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import f1_score
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from data_contracts.errors import ContractViolation
from data_contracts.evaluation import EvaluationReport
from data_contracts.tables import check_table
from tasks import export, teacher_signals
from tasks.corpus.tables import read_table, write_table
from tasks.evaluation import STAGE, Config, SpeedConfig
from tasks.modeling.backbones import build_student_backbone
from tasks.modeling.classifier import EncoderClassifier, save_classifier
from tasks.modeling.config import StudentArchitecture
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import run_stage

LABELS = ("brightness", "turn_off", "turn_on", "状态")
CHINESE = ("把{}亮度调高", "关闭{}的灯", "打开{}的灯", "{}是什么状态")
ENGLISH = ("dim the {} lights", "switch off the {}", "switch on the {}", "what about the {}")
ROOMS = {
    "客厅": "parlour", "卧室": "bedroom", "厨房": "kitchen", "书房": "study", "浴室": "bathroom",
    "阳台": "balcony", "车库": "garage", "走廊": "hall", "地下室": "cellar", "花园": "garden",
}  # fmt: skip
ROLE_ROOMS = {"train": slice(0, 5), "transfer": slice(0, 5), "validation": slice(5, 7),
              "test": slice(6, 10)}  # fmt: skip
QUICK = SpeedConfig(num_threads=1, latency_texts=3, round_texts=4, max_rounds=3)


def rows_of(role, language):
    """(text, other text, class) of a role in a language."""
    for zh, en in list(ROOMS.items())[ROLE_ROOMS[role]]:
        for label, (chinese, english) in enumerate(zip(CHINESE, ENGLISH, strict=True)):
            texts = (chinese.format(zh), english.format(en))
            yield (*(texts if language == "zh" else texts[::-1]), label)


def example_id(role, language, index):
    return f"{hash_free(role + language):08x}{index:024x}"


def hash_free(text):
    return sum(ord(character) * 31**i for i, character in enumerate(text)) % 16**8


def tokenizer_of(texts):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


TOKENIZERS = {
    language: tokenizer_of([text for text, _, _ in rows_of("train", language)])
    for language in ("en", "zh")
}


def write_corpus(output, *, gold=True):
    for role, languages in {
        "train": ["en"],
        "transfer": ["zh"],
        "validation": ["en", "zh"],
        "test": ["en", "zh"],
    }.items():
        for part, language in enumerate(languages):
            rows = list(rows_of(role, language))
            parallel = role == "transfer"
            labelled = gold or not parallel
            table = pa.table(
                {
                    "example_id": [example_id(role, language, i) for i in range(len(rows))],
                    "text": [text for text, _, _ in rows],
                    "language": [language] * len(rows),
                    "label": pa.array(
                        [LABELS[label] if labelled else None for *_, label in rows], pa.string()
                    ),
                    "parallel_text": pa.array(
                        [other if parallel else None for _, other, _ in rows], pa.string()
                    ),
                    "parallel_language": pa.array(
                        ["en" if parallel else None] * len(rows), pa.string()
                    ),
                    "source": ["rooms"] * len(rows),
                    "line": pa.array(range(1, len(rows) + 1), pa.int64()),
                }
            )
            write_table(table, output / "rows" / role / f"part-{part:05d}.parquet")
    counts = {
        "rooms": {
            "role": "transfer",
            "language": "zh",
            "rows_in": 23,
            "rows_out": 20,
            "quarantined": {"wrong_language": 2},
            "deduplicated": {"exact": 1},
            "rows_out_by_role": {"train": 0, "transfer": 20, "validation": 0, "test": 0},
        }
    }
    (output / "counts.json").write_text(json.dumps({"sources": counts}))
    (output / "labels.json").write_text(json.dumps({"labels": LABELS}))


def write_tokens(output, language, *, gold=True, test_labels=True):
    tokenizer = TOKENIZERS[language]
    for role in ("train", "transfer", "validation", "test"):
        if role == "train" and language == "zh":
            continue
        # The teacher reads the parallel side of a transfer row: the row keeps its id.
        owner = "zh" if role == "transfer" else language
        rows = list(rows_of(role, language))
        known = (gold or role != "transfer") and (test_labels or role != "test")
        table = pa.table(
            {
                "example_id": [example_id(role, owner, i) for i in range(len(rows))],
                "input_ids": pa.array(
                    [tokenizer.encode(text).ids for text, _, _ in rows], pa.list_(pa.int32())
                ),
                "label": pa.array([label if known else -1 for *_, label in rows], pa.int32()),
                "language": [language] * len(rows),
            }
        )
        write_table(table, output / role / "part-00000.parquet")
    (output / "tokenizer").mkdir()
    tokenizer.save(str(output / "tokenizer" / "tokenizer.json"))
    facts = {
        "vocab_size": tokenizer.get_vocab_size(), "pad_token_id": 0, "max_length_tokens": 24,
    }  # fmt: skip
    (output / "tokens.json").write_text(json.dumps(facts))
    (output / "labels.json").write_text(json.dumps({"labels": LABELS}))


def write_model(output, language, *, seed, noise=0.0):
    """A random encoder whose head is fitted on the transfer texts, as if it had been trained."""
    torch.manual_seed(seed)
    tokenizer = TOKENIZERS[language]
    shape = StudentArchitecture(num_layers=2, hidden_size=32, num_heads=2, intermediate_size=64)
    backbone = build_student_backbone(
        shape, vocab_size=tokenizer.get_vocab_size(), pad_token_id=0, max_length_tokens=24
    )
    model = EncoderClassifier(backbone, num_labels=4, pooling="mean", dropout=0.1).eval()
    rows = list(rows_of("transfer", language))
    with torch.no_grad():
        features = torch.stack(
            [
                backbone(
                    input_ids=(ids := torch.tensor([tokenizer.encode(text).ids])),
                    attention_mask=torch.ones_like(ids),
                ).last_hidden_state.mean(1)[0]
                for text, _, _ in rows
            ]
        )
        design = torch.cat([features, torch.ones(len(rows), 1)], 1)
        target = torch.nn.functional.one_hot(torch.tensor([row[2] for row in rows]), 4) * 6.0
        solution = torch.linalg.solve(design.T @ design + 0.1 * torch.eye(33), design.T @ target)
        solution += noise * torch.randn(solution.shape)
        model.head.weight.copy_(solution[:32].T)
        model.head.bias.copy_(solution[32])
    save_classifier(model, output / "model", problem="text_classification")
    tokenizer.save(str(output / "model" / "tokenizer.json"))
    (output / "model" / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"})
    )
    (output / "model" / "labels.json").write_text(json.dumps({"labels": LABELS}))
    steps = [{"step": s, "loss": 1 / s, "learning_rate": 0.1} for s in (1, 2, 3)]
    validations = [{"step": s, "accuracy": s / 4, "macro_f1": s / 4, "loss": 1.0} for s in (1, 3)]
    history = {"steps": steps, "validations": validations, "best_step": 3}
    (output / "history.json").write_text(json.dumps(history))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    training = {"steps_done": 3, "steps_planned": 3, "num_parameters": parameters, "seed": seed}
    (output / "training.json").write_text(json.dumps({**training, "stopped_early": False}))


@pytest.fixture(scope="module")
def world(tmp_path_factory, publish):
    """(store, inputs): all artifacts an evaluation reads, two seeds of each student."""
    store = ArtifactStore(tmp_path_factory.mktemp("world"))

    def made(stage, write, **config):
        return publish(store, stage, write, config=config)

    inputs = {
        "corpus": made("corpus", write_corpus),
        "teacher": made("teacher", lambda out: write_model(out, "en", seed=1)),
        "teacher_tokens": made("tokens", lambda out: write_tokens(out, "en"), language="en"),
        "student_tokens": made("tokens", lambda out: write_tokens(out, "zh"), language="zh"),
    }
    inputs["teacher_signals"] = run_stage(
        teacher_signals.STAGE,
        teacher_signals.Config(precision="fp32"),
        {"teacher": inputs["teacher"], "tokens": inputs["teacher_tokens"]},
        store=store,
    ).artifact
    for name, noise in (("student", 0.05), ("pseudo_label", 1.5), ("supervised", 0.0)):
        for seed in (0, 1):
            inputs[f"{name}_{seed}"] = made(
                "student",
                lambda out, seed=seed, noise=noise: write_model(
                    out, "zh", seed=10 + seed, noise=noise
                ),
                seed=seed,
                objective={"hard_labels": "gold" if name == "supervised" else "teacher"},
                name=name,
            )
    inputs["export"] = run_stage(
        export.STAGE,
        export.Config(min_int8_agreement=0.0),
        {"student": inputs["student_0"], "tokens": inputs["student_tokens"]},
        store=store,
    ).artifact
    return store, inputs


CONFIG = Config(
    recipe="rooms",
    source_language="en",
    target_language="zh",
    model_name="rooms-zh",
    num_resamples=200,
    speed=QUICK,
    notes=("The pairs are made from templates.",),
)


@pytest.fixture(scope="module")
def evaluated(world):
    """(artifact, report) of the full evaluation."""
    store, inputs = world
    artifact = run_stage(STAGE, CONFIG, inputs, store=store).artifact
    text = (artifact.path / "report.json").read_text(encoding="utf-8")
    return artifact, EvaluationReport.model_validate_json(text)


def predictions(artifact, name):
    return read_table(artifact.path / "predictions" / f"{name}.parquet").to_pydict()


def test_every_score_can_be_computed_again_from_the_predictions(evaluated):
    """A report whose figures nobody can recompute is a claim."""
    artifact, report = evaluated
    runs = {"student": 2, "pseudo_label": 2, "supervised": 2}
    assert list(report.systems) == [
        "teacher",
        "student",
        "pseudo_label",
        "supervised",
        "linear_pseudo_label",
        "linear_gold",
        "majority",
    ]
    written = {path.stem for path in (artifact.path / "predictions").iterdir()}
    expected = set()
    for name, system in report.systems.items():
        files = [f"{name}_{i}" for i in range(runs[name])] if name in runs else [name]
        expected.update(files)
        accuracies = []
        for file, scores in zip(files, system.seeds, strict=True):
            rows = predictions(artifact, file)
            check_table(
                read_table(artifact.path / "predictions" / f"{file}.parquet"), "predictions"
            )
            labels, decided = np.array(rows["label"]), np.array(rows["prediction"])
            assert scores.accuracy == pytest.approx(np.mean(labels == decided))
            present = np.unique(labels)
            macro = f1_score(labels, decided, labels=present, average="macro", zero_division=0)
            assert scores.macro_f1 == pytest.approx(macro)
            assert system.num_examples == len(labels) == 16
            accuracies.append(np.mean(labels == decided))
        assert system.mean.accuracy == pytest.approx(np.mean(accuracies))
        if len(accuracies) > 1:
            assert system.sd.accuracy == pytest.approx(np.std(accuracies, ddof=1))
        else:
            assert system.sd is None
    assert written == expected


def test_teacher_answers_come_from_its_signals_joined_by_id(world, evaluated):
    """Joining by position gives the teacher another example's logits and a score near chance."""
    _, inputs = world
    artifact, report = evaluated
    signals = read_table(inputs["teacher_signals"].path / "test" / "part-00000.parquet").to_pydict()
    chosen = {
        row: LABELS[int(np.argmax(logits))]
        for row, logits in zip(signals["example_id"], signals["logits"], strict=True)
    }
    rows = predictions(artifact, "teacher")
    gold = {
        example_id("test", "en", i): LABELS[label]
        for i, (*_, label) in enumerate(rows_of("test", "en"))
    }
    assert set(rows["example_id"]) == set(gold)
    for row, label, decided in zip(
        rows["example_id"], rows["label"], rows["prediction"], strict=True
    ):
        assert label == gold[row]
        assert decided == chosen[row]
    assert report.systems["teacher"].mean.accuracy > 0.5


def test_students_are_scored_on_the_target_language_and_paired(evaluated):
    """A student scored on the teacher's rows would be scored on a language it cannot read."""
    artifact, report = evaluated
    student, baseline = (
        predictions(artifact, name) for name in ("student_0", "linear_pseudo_label")
    )
    expected = [example_id("test", "zh", i) for i in range(16)]
    assert student["example_id"] == baseline["example_id"] == expected
    assert report.systems["student"].language == "zh"
    found = {(one.against, one.metric): one for one in report.comparisons}
    others = [name for name in report.systems if name != "student"]
    assert set(found) == {(name, metric) for name in others for metric in ("accuracy", "macro_f1")}
    for (against, metric), one in found.items():
        assert one.paired == (against != "teacher")
        difference = getattr(report.systems["student"].mean, metric) - getattr(
            report.systems[against].mean, metric
        )
        assert one.difference == pytest.approx(difference)
        assert one.low <= one.difference <= one.high
    [kept, _] = report.retention
    assert not kept.paired
    ratio = report.systems["student"].mean.accuracy / report.systems["teacher"].mean.accuracy
    assert kept.value == pytest.approx(ratio)


def test_what_ships_is_compared_with_the_teacher_by_itself(evaluated):
    """A gate asked of a mean over seeds, of which only one ships, lets a poor one through."""
    artifact, report = evaluated
    found = {(one.of, one.metric): one for one in report.delivered_comparisons}
    forms = ("safetensors", "onnx_int8")
    assert set(found) == {(form, metric) for form in forms for metric in ("accuracy", "macro_f1")}
    rows = {name: predictions(artifact, name) for name in ("student_0", "teacher")}
    own = {
        name: np.mean(np.array(answers["label"]) == np.array(answers["prediction"]))
        for name, answers in rows.items()
    }
    one = found["safetensors", "accuracy"]
    assert one.difference == pytest.approx(own["student_0"] - own["teacher"])
    assert one.low <= one.difference <= one.high
    int8 = found["onnx_int8", "accuracy"]
    assert int8.difference == pytest.approx(report.variants["onnx_int8"].accuracy - own["teacher"])
    assert one.against == int8.against == "teacher"
    seeds = [scores.accuracy for scores in report.systems["student"].seeds]
    assert seeds[0] != seeds[1], "the seeds answer alike: this test shows nothing"
    page = (artifact.path / "report.html").read_text(encoding="utf-8")
    assert "The delivered model (student, seed 0, safetensors)" in page


def test_floors_learn_what_the_student_had(world, evaluated):
    """A floor trained on test labels, or on the teacher's language, is no floor."""
    _, inputs = world
    artifact, report = evaluated
    signals = read_table(
        inputs["teacher_signals"].path / "transfer" / "part-00000.parquet"
    ).to_pydict()
    chosen = np.array(signals["logits"]).argmax(axis=1)
    shares = np.bincount(chosen, minlength=4) / len(chosen)
    rows = predictions(artifact, "majority")
    assert set(rows["prediction"]) == {LABELS[int(shares.argmax())]}
    assert rows["confidence"] == pytest.approx([shares.max()] * 16)
    # The templates are the same, only the rooms are new: characters must carry over.
    assert report.systems["linear_gold"].mean.accuracy >= 0.9
    assert report.diagnostics.pseudo_label_accuracy == pytest.approx(
        np.mean(chosen == np.tile(np.arange(4), 5))
    )


def test_sizes_parameters_and_times_are_those_of_the_delivered_files(world, evaluated):
    """Times of one model beside the size of another make a student that does not exist."""
    _, inputs = world
    _, report = evaluated
    model = inputs["export"].path / "model"
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    assert report.systems["student"].size_bytes == weights
    assert report.variants["safetensors"].size_bytes == weights
    assert report.variants["onnx_int8"].size_bytes == (model / "model.int8.onnx").stat().st_size
    training = json.loads((inputs["student_0"].path / "training.json").read_text())
    assert report.systems["student"].num_parameters == training["num_parameters"]
    assert report.systems["student"].latency_ms_p50 == report.variants["safetensors"].latency_ms_p50
    assert report.systems["pseudo_label"].latency_ms_p50 is None
    assert report.systems["majority"].size_bytes is None
    # From text through the tokenizer: the same answers as from the stored tokens.
    assert report.variants["safetensors"].accuracy == report.systems["student"].seeds[0].accuracy
    assert report.variants["safetensors"].agreement == 1.0
    assert (report.speed.rounds, report.speed.num_texts, report.speed.num_threads) == (3, 4, 1)


def test_no_text_of_the_data_reaches_the_report(evaluated):
    """A report is mailed around; the user's sentences are not ours to send."""
    artifact, _ = evaluated
    for name in ("report.json", "report.html"):
        content = (artifact.path / name).read_text(encoding="utf-8")
        for role in ("train", "transfer", "validation", "test"):
            for text, other, _ in rows_of(role, "zh"):
                assert text not in content
                assert other not in content
    page = (artifact.path / "report.html").read_text(encoding="utf-8")
    assert "models:/rooms-zh@champion" in page
    assert page.count("data:image/png;base64,") == 4
    assert {path.name for path in (artifact.path / "plots").iterdir()} == {
        "confusion_matrix.png",
        "learning_curves.png",
        "quality_and_size.png",
        "reliability.png",
    }


def test_notes_tell_what_labels_were_used(evaluated):
    """`No target label` claimed by hand in a README does not follow the recipe; this does."""
    _, report = evaluated
    notes = " ".join(report.notes)
    assert report.notes[0] == "The pairs are made from templates."
    assert "No zh label enters the student's loss" in notes
    assert "different examples (16 in zh, 16 in en)" in notes


def test_all_but_the_times_repeats(world, evaluated):
    """An unseeded bootstrap passes a gate today and fails it tomorrow."""
    store, inputs = world
    artifact, report = evaluated
    before = {path.name: path.read_bytes() for path in (artifact.path / "predictions").iterdir()}
    again = run_stage(STAGE, CONFIG, inputs, store=store, force=True).artifact
    after = {path.name: path.read_bytes() for path in (again.path / "predictions").iterdir()}
    assert before == after
    repeated = EvaluationReport.model_validate_json((again.path / "report.json").read_bytes())
    for name in ("comparisons", "retention", "classes", "calibration", "diagnostics", "data"):
        assert getattr(report, name) == getattr(repeated, name)


def test_missing_baselines_and_labels_leave_their_lines_out(world, publish):
    """A recipe without baselines or gold labels is still evaluated, and says what is missing."""
    store, inputs = world
    fewer = {
        name: artifact
        for name, artifact in inputs.items()
        if not name.startswith(("pseudo", "supervised", "student_1"))
    }
    fewer["student_tokens"] = publish(
        store,
        "tokens",
        lambda out: write_tokens(out, "zh", gold=False),
        config={"language": "zh", "gold": False},
    )
    fewer["corpus"] = publish(
        store, "corpus", lambda out: write_corpus(out, gold=False), config={"gold": False}
    )
    artifact = run_stage(STAGE, CONFIG, fewer, store=store).artifact
    report = EvaluationReport.model_validate_json((artifact.path / "report.json").read_bytes())
    assert list(report.systems) == ["teacher", "student", "linear_pseudo_label", "majority"]
    assert report.systems["student"].sd is None
    assert report.diagnostics.pseudo_label_accuracy is None
    assert report.comparison("student_minus_pseudo_label") is None
    assert "was not measured" in (artifact.path / "report.html").read_text(encoding="utf-8")


def test_unlabelled_test_rows_are_a_users_mistake_with_a_remedy(world, publish):
    """An accuracy over rows without labels is 0 % and looks like a bad student."""
    store, inputs = world
    tokens = publish(
        store,
        "tokens",
        lambda out: write_tokens(out, "zh", test_labels=False),
        config={"language": "zh", "test_labels": False},
    )
    with pytest.raises(ContractViolation, match="none of the 16 test rows of the student"):
        run_stage(STAGE, CONFIG, {**inputs, "student_tokens": tokens}, store=store)


def test_a_language_without_test_rows_is_named(world):
    """A mistyped language tag must not end in an empty table deep inside numpy."""
    store, inputs = world
    wrong = CONFIG.model_copy(update={"target_language": "de"})
    with pytest.raises(ContractViolation, match="no test rows in 'de'"):
        run_stage(STAGE, wrong, inputs, store=store)


def test_planning_needs_no_heavy_import():
    """`decant plan` promises its answer in about a second."""
    heavy = "{'torch', 'transformers', 'matplotlib', 'sklearn', 'scipy', 'pandas', 'mlflow'}"
    code = f"import sys, tasks.evaluation; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
