"""The small student, registered once, and what its siblings of other problems deliver."""

import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mlflow
import pandas as pd
import pyarrow as pa
import pytest
import torch
from starlette.testclient import TestClient
from tokenizers import processors

from tasks import export
from tasks.corpus.tables import write_table
from tasks.corpus.tokens.pair_encoding import framed_apart
from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import save_classifier
from tasks.problems import PROBLEMS
from tasks.registration import STAGE, Config
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import run_stage
from tasks.serving.bundle.bundle import requirements, write_bundle
from tasks.serving.bundle.interfaces import INTERFACES
from tasks.serving.bundle.pyfunc import save_model


@pytest.fixture(scope="session")
def registered(tmp_path_factory, registry_folder, exported, make_report, publish_evaluation):
    """record.json of the small student, registered as `served`."""
    store = ArtifactStore(tmp_path_factory.mktemp("registration"))
    report = publish_evaluation(store, make_report())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DECANT_HOME", str(registry_folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        inputs = {"export": exported, "evaluation": report}
        config = Config(model_name="served", example_texts=("打开客厅的灯",))
        made = run_stage(STAGE, config, inputs, store=store).artifact
    return json.loads((made.path / "record.json").read_text())


@pytest.fixture(scope="session")
def downloaded(tmp_path_factory, registered, registry_folder):
    """The registered model's folder, as a consumer downloads it."""
    from mlflow.artifacts import download_artifacts

    folder = tmp_path_factory.mktemp("downloaded") / "model"
    uri = f"sqlite:///{registry_folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        download_artifacts(f"models:/served/{registered['version']}", dst_path=str(folder))
    # Of others who loaded it where it is stored; not the registration, whose test asks for that.
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    return folder


@pytest.fixture
def copy(downloaded, tmp_path):
    """A copy of that folder to spoil."""
    compiled = shutil.ignore_patterns("__pycache__")  # by those who loaded that folder
    return shutil.copytree(downloaded, tmp_path / "copy", ignore=compiled)


@dataclass(frozen=True)
class Delivered:
    """A tiny model of one problem, exported, and as MLflow loads it without this repository."""

    export: Path
    folder: Path

    def ask(self, rows, **params):
        """Answers to records, as a consumer gets them from `load_model`."""
        return self._loaded.predict(pd.DataFrame(rows), params=params or None)

    def ask_server(self, rows, **params):
        """(status, body) of `mlflow models serve`'s own application."""
        from mlflow.pyfunc import scoring_server

        body = {"dataframe_records": rows, **({"params": params} if params else {})}
        client = TestClient(scoring_server.init(self._loaded))
        answer = client.post("/invocations", json=body)
        return answer.status_code, answer.json()

    @property
    def _loaded(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
            return _loaded(self.folder)


@cache
def _loaded(folder):
    return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture(scope="session")
def deliver(tmp_path_factory, publish, small_tokenizer):
    """Fit a head on the tokens of some rows, export the model and save it for MLflow.

    What is fitted is answered rightly afterwards, so that tests can say what to expect.
    """

    def make(
        problem, labels, rows, targets, *, examples, thresholds=None, facts=None, pairs="together"
    ):
        """rows: columns of the tokens table. targets: {row: {position: logits}}, position None for
        a pooled text."""
        store = ArtifactStore(tmp_path_factory.mktemp(problem))
        tokenizer = pair_tokenizer(small_tokenizer)
        if pairs == "apart":
            framed_apart(tokenizer)

        def write_student(output):
            model = fitted(problem, labels, rows["input_ids"], targets, tokenizer, pairs)
            save_classifier(model, output / "model", problem=problem)
            tokenizer.save(str(output / "model" / "tokenizer.json"))
            settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
            write_json(output / "model" / "tokenizer_config.json", settings)
            write_json(output / "model" / "labels.json", {"labels": labels})
            write_json(output / "history.json", {"steps": [], "validations": [], "best_step": 1})
            write_json(
                output / "training.json",
                {"steps_done": 1, "steps_planned": 1, "stopped_early": False},
            )
            if thresholds:
                write_json(output / "model" / "thresholds.json", thresholds)

        def write_tokens(output):
            write_table(as_table(rows), output / "validation" / "part-00000.parquet")
            lengths = {"pad_token_id": 0, "max_length_tokens": 24}
            write_json(output / "tokens.json", {**lengths, **(facts or {})})

        inputs = {
            "student": publish(store, "student", write_student),
            "tokens": publish(store, "tokens", write_tokens),
        }
        made = run_stage(export.STAGE, export.Config(), inputs, store=store).artifact
        bundle, folder = (store.root / name for name in ("bundle", "mlflow"))
        bundle.mkdir()
        wanted = requirements(repair_encoding=False)
        digest = write_bundle(
            bundle,
            model=made.path / "model",
            script=INTERFACES[problem].script,
            pip_requirements=wanted,
            documents={"MODEL_CARD.md": "# a test\n"},
        )
        save_model(
            folder,
            problem=problem,
            bundle=bundle,
            digest=digest,
            pip_requirements=wanted,
            examples=examples,
        )
        return Delivered(made.path, folder)

    return make


def as_table(rows):
    """Columns of strings, numbers or lists of numbers, the numbers as int32."""
    kinds = {list: pa.list_(pa.int32()), int: pa.int32(), str: pa.string()}
    return pa.table({name: pa.array(rows[name], kinds[type(rows[name][0])]) for name in rows})


def pair_tokenizer(tokenizer):
    """A copy that frames pairs too, and cuts nothing."""
    copied = type(tokenizer).from_str(tokenizer.to_str())
    copied.no_truncation()
    copied.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return copied


def fitted(problem, labels, input_ids, targets, tokenizer, pairs):
    """A random encoder and a ridge regression of the wanted logits on its states."""
    torch.manual_seed(3)
    shape = StudentArchitecture(num_layers=2, hidden_size=128, num_heads=4, intermediate_size=128)
    backbone = build_student_backbone(
        shape, vocab_size=tokenizer.get_vocab_size(), pad_token_id=0, max_length_tokens=24
    )
    model = PROBLEMS[problem].build_model(
        backbone, num_labels=len(labels), pooling="mean", dropout=0.1, pairs=pairs
    )
    states, wanted = [], []
    with torch.no_grad():
        if None not in targets[0]:  # a head on tokens: each token's answer depends on it alone
            for name, weights in model.backbone.named_parameters():
                if "position_embeddings" in name or "attention.output.dense" in name:
                    weights.zero_()
        for row, ids in enumerate(input_ids):
            ids = torch.tensor([ids])
            if pairs == "apart":
                second = ids[0].tolist().index(CLS, 1)
                texts = (ids[:, :second], ids[:, second:])
                u, v = (
                    model.eval().backbone(input_ids=text).last_hidden_state[0].mean(0)
                    for text in texts
                )
                states.append(torch.cat([u, v, (u - v).abs(), u * v]))
                wanted.append(targets[row][None])
                continue
            if problem == "sentence_embedding":
                continue
            found = model.eval().backbone(input_ids=ids, attention_mask=torch.ones_like(ids))
            for position, logits in targets[row].items():
                hidden = found.last_hidden_state[0]
                states.append(hidden.mean(0) if position is None else hidden[position])
                wanted.append(logits)
        if problem == "sentence_embedding":
            return model.eval()
        design = torch.cat([torch.stack(states), torch.ones(len(states), 1)], 1)
        ridge = design.T @ design + 1e-2 * torch.eye(design.shape[1])
        solution = torch.linalg.solve(ridge, design.T @ torch.tensor(wanted))
        model.head.weight.copy_(solution[:-1].T)
        model.head.bias.copy_(solution[-1])
    return model


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


ROOMS = ("客厅", "卧室", "厨房", "书房", "浴室", "阳台", "车库", "走廊")
REQUESTS = ("打开{}的灯", "关闭{}的灯", "{}现在几度", "在{}播放音乐")
TEXTS = [(request.format(room), request.index("{")) for request in REQUESTS for room in ROOMS]
CLS, SEP = 2, 3


@pytest.fixture(scope="session")
def ids_of(small_tokenizer):
    """Ids of a text, without special tokens; every character must be a token."""

    def ids(text):
        found = small_tokenizer.encode(text, add_special_tokens=False).ids
        assert len(found) == len(text)
        return found

    return ids


def keys(count):
    return [f"{row:032x}" for row in range(count)]


@pytest.fixture(scope="session")
def tagger(deliver, ids_of):
    """Rooms are ROOM, lamps DEVICE."""
    labels = ["O", "B-DEVICE", "I-DEVICE", "B-ROOM", "I-ROOM"]
    tags = []
    for text, start in TEXTS:
        found = [1 if character == "灯" else 0 for character in text]
        found[start : start + 2] = [3, 4]
        tags.append(found)
    rows = {
        "example_id": keys(len(TEXTS)),
        "input_ids": [[CLS, *ids_of(text), SEP] for text, _ in TEXTS],
        "unit_positions": [list(range(1, len(text) + 1)) for text, _ in TEXTS],
        "unit_labels": tags,
    }
    targets = [
        {
            place: [9.0 if tag == right else -3.0 for tag in range(5)]
            for place, right in enumerate(row, start=1)
        }
        for row in tags
    ]
    return deliver("token_classification", labels, rows, targets, examples=("打开客厅的灯",))


QUESTION = "哪个房间"


@pytest.fixture(scope="session")
def answerer(deliver, ids_of, small_tokenizer):
    """Asked about rooms, it gives the room; where there is none, no answer."""
    question = small_tokenizer.encode(QUESTION, add_special_tokens=False).ids
    rows = {name: [] for name in ("example_id", "input_ids", "first_unit", "num_units")}
    rows |= {name: [] for name in ("unit_positions", "start_unit", "end_unit")}
    targets = []
    without = [(text.replace(text[start : start + 2], ""), -2) for text, start in TEXTS[:24:3]]
    for text, start in [*TEXTS, *without]:
        end = start + 1 if start >= 0 else -2
        first = len(question) + 2
        rows["input_ids"].append([CLS, *question, SEP, *ids_of(text), SEP])
        rows["unit_positions"].append(list(range(first, first + len(text))))
        rows["first_unit"].append(0)
        rows["num_units"].append(len(text))
        rows["start_unit"].append(start)
        rows["end_unit"].append(end)
        wanted = {first + place: [-3.0, -3.0] for place in range(len(text))}
        wanted[0] = [0.0, 0.0]
        if start >= 0:
            wanted[first + start][0] = 6.0
            wanted[first + end][1] = 6.0
        targets.append(wanted)
    rows["example_id"] = keys(len(targets))
    examples = ((QUESTION, "打开客厅的灯"),)
    facts = {"max_question_tokens": 6, "window_stride_tokens": 5}
    return deliver(
        "question_answering",
        ["start", "end"],
        rows,
        targets,
        examples=examples,
        facts=facts,
        thresholds={"null_threshold": 0.0},
    )


@pytest.fixture(scope="session", params=["together", "apart"])
def matcher(request, deliver, ids_of):
    """A pair of requests about a lamp is `same`, one with the temperature `other`."""
    between = [SEP] if request.param == "together" else [SEP, CLS]
    pairs = [(TEXTS[row][0], TEXTS[row + 8][0]) for row in range(8)]
    others = [(TEXTS[row][0], TEXTS[row + 16][0]) for row in range(8)]
    rows = {
        "example_id": keys(16),
        "input_ids": [[CLS, *ids_of(a), *between, *ids_of(b), SEP] for a, b in pairs + others],
        "label": [1] * 8 + [0] * 8,
    }
    targets = [{None: [-4.0, 4.0]}] * 8 + [{None: [4.0, -4.0]}] * 8
    examples = (pairs[0],)
    labels = ["other", "same"]
    return deliver("matching", labels, rows, targets, examples=examples, pairs=request.param)


@pytest.fixture(scope="session")
def embedder(deliver, ids_of):
    """Vectors of 16 numbers; nothing is fitted."""
    rows = {
        "example_id": keys(len(TEXTS)),
        "input_ids": [[CLS, *ids_of(text), SEP] for text, _ in TEXTS],
        "label": [-1] * len(TEXTS),
    }
    targets = [{None: None}] * len(TEXTS)
    widths = [str(number) for number in range(16)]
    return deliver("sentence_embedding", widths, rows, targets, examples=("打开客厅的灯",))


THRESHOLDS = [0.5, 0.5, 0.9]


@pytest.fixture(scope="session")
def labeller(deliver, ids_of):
    """Requests of the living room are `living`, those with a lamp `lamp`; some are neither."""
    labels = ["lamp", "living", "unsure"]
    right = [("灯" in text, "客厅" in text) for text, _ in TEXTS]
    rows = {
        "example_id": keys(len(TEXTS)),
        "input_ids": [[CLS, *ids_of(text), SEP] for text, _ in TEXTS],
        "labels": [[place for place in range(2) if row[place]] for row in right],
    }
    # `unsure` is likely everywhere (0.88), and nowhere likely enough (0.9).
    targets = [{None: [4.0 if one else -4.0 for one in row] + [2.0]} for row in right]
    return deliver(
        "multilabel_classification",
        labels,
        rows,
        targets,
        examples=("打开客厅的灯",),
        thresholds={"thresholds": THRESHOLDS},
    )
