"""Every problem goes through the same stages: a teacher, what it says, a student that learns it."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from tasks import distillation, teacher, teacher_signals
from tasks.corpus.tables import read_table, write_table
from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.problems import load_model
from tasks.runtime.stages import run_stage
from tasks.training.objectives.config import ObjectiveConfig
from tests.tasks.small_problems import TOKENS, id_of, make_tokenizer

ROOMS = ("客厅", "卧室", "厨房", "书房")
SHAPE = StudentArchitecture(
    num_layers=1, hidden_size=16, num_heads=2, intermediate_size=32, dropout=0.0
)
SIZE = {"vocab_size": 150, "pad_token_id": 0, "max_length_tokens": 64}
TEMPERATURE = 0.05  # of logits of some hundredths
LABELS = {
    "matching": ["different", "same"],
    "multilabel_classification": ["light", "music", "news"],
    "token_classification": ["O", "B-LOC", "I-LOC"],
    "question_answering": ["start", "end"],
}
HELD = [["light"], ["light", "music"], [], ["light", "music", "news"]]


def rows_of(problem):
    """Four texts, of which some classes are rarer than others; a context fits in one window."""
    for i, room in enumerate(ROOMS):
        text = f"打开{room}灯"
        yield {
            "matching": {"text": text, "text_b": f"{ROOMS[max(i, 1)]}灯", "label": "different"
                         if i == 0 else "same"},
            "multilabel_classification": {"text": text, "labels": HELD[i]},
            "token_classification": {"text": text, "span_starts": [2], "span_ends": [4],
                                     "span_labels": ["LOC"]},
            "question_answering": {
                "text": text, "question": "哪里", "answer_starts": [2] if i else [],
                "answer_texts": [room] if i else [],
            },
        }[problem]  # fmt: skip


@pytest.fixture(params=LABELS)
def world(request, store, publish, tmp_path):
    """(problem, tokens, pretrained encoder): both readers have the same tokens."""
    problem = request.param
    rows = list(rows_of(problem))
    tokenizer = make_tokenizer([text for row in rows for text in row.values()
                                if isinstance(text, str)])  # fmt: skip
    tokenize, extra = TOKENS[problem]
    schema = {
        "example_id": pa.string(), "input_ids": pa.list_(pa.int32()), "label": pa.int32(),
        "language": pa.string(), **extra,
    }  # fmt: skip

    def write(out):
        for role in ("train", "transfer", "validation"):
            ids = [id_of(role, "zh", i) for i in range(len(rows))]
            keyed = [{**row, "example_id": one} for row, one in zip(rows, ids, strict=True)]
            found = list(tokenize(tokenizer, keyed, LABELS[problem]))
            for one, example_id in zip(found, ids, strict=True):
                one |= {"example_id": example_id, "language": "zh"}
            table = pa.Table.from_pylist(found, schema=pa.schema(schema))
            write_table(table, out / role / "part-00000.parquet")
        (out / "tokenizer").mkdir()
        tokenizer.save(str(out / "tokenizer" / "tokenizer.json"))
        facts = {**SIZE, "num_rows": {"transfer": 4}, "num_tokens": {"transfer": 40}}
        (out / "tokens.json").write_text(json.dumps(facts))
        (out / "labels.json").write_text(json.dumps({"labels": LABELS[problem]}))

    torch.manual_seed(3)
    build_student_backbone(SHAPE, **SIZE).save_pretrained(tmp_path / "encoder")
    return problem, publish(store, "tokens", write), tmp_path / "encoder"


def logits_of(problem, folder, rows):
    """Of each row, read alone: (answers, C) in float64; of a question the slot, then the units."""
    model = load_model(folder)
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            said = model(ids, torch.ones_like(ids)).double().numpy()
        if problem in ("token_classification", "question_answering"):
            slot = [0] if problem == "question_answering" else []
            said = said[0][[*slot, *row["unit_positions"]]]
        yield said


def decisions_of(problem, row, said):
    """What is decided by one softmax each, (C,) logits, and the number of the right class."""
    if problem == "matching":
        yield said[0], row["label"]
    elif problem == "token_classification":
        yield from zip(said, row["unit_labels"], strict=True)
    elif problem == "question_answering":
        for which, name in enumerate(("start_unit", "end_unit")):
            yield said[:, which], max(row[name] + 1, 0)
    else:  # yes or no to each class
        for which, logit in enumerate(said[0]):
            yield np.array([0.0, logit]), int(which in row["labels"])


def log_softmax(x):
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


def weights_of(problem, rows):
    """1 / how often each class is right, 1 in the mean over what is right; None if unasked."""
    column = {"matching": "label", "multilabel_classification": "labels",
              "token_classification": "unit_labels"}.get(problem)  # fmt: skip
    if column is None:
        return None
    right = np.concatenate([np.atleast_1d(row[column]) for row in rows]).astype(int)
    counts = np.bincount(right)
    assert counts.min() < counts.max(), "no class is rare: this test shows little"
    return len(right) / counts / len(counts)


def losses_of(problem, rows, student, from_teacher=None):
    """(hard, kd) as the textbook has them, decision by decision, rare classes counting more."""
    weights = weights_of(problem, rows)
    hard, kd, answers = 0.0, 0.0, 0
    for number, row in enumerate(rows):
        mine = list(decisions_of(problem, row, student[number]))
        for place, (said, right) in enumerate(mine):
            weight = 1.0
            if problem == "multilabel_classification":
                weight = weights[place] if right else 1.0
            elif weights is not None:
                weight = weights[right]
            hard -= weight * log_softmax(said)[right]
            if from_teacher:
                theirs, _ = list(decisions_of(problem, row, from_teacher[number]))[place]
                p, q = (log_softmax(one / TEMPERATURE) for one in (theirs, said))
                kd += TEMPERATURE**2 * (np.exp(p) * (p - q)).sum()
        # start and end of a question are one answer, the yes and no of classes are averaged
        answers += 1 if problem == "question_answering" else len(mine)
    return hard / answers, kd / answers


def test_teacher_and_student_learn_the_textbook_loss_of_every_problem(world, store):
    """One problem that a stage reads as another: classes that compete, weights that the recipe
    asked for and nobody applied, a student of units beside those that were meant."""
    problem, tokens, encoder = world
    balanced = "none" if problem == "question_answering" else "balanced"
    training = {
        # A rate at which nothing moves: what is saved is what the one step began with.
        "num_epochs": 1, "batch_size": 8, "learning_rate": 1e-12, "weight_decay": 0.0,
        "precision": "fp32", "class_weights": balanced,
    }  # fmt: skip
    from_teacher = run_stage(
        teacher.STAGE,
        teacher.Config(problem=problem, model=str(encoder), dropout=0.0, training=training),
        {"tokens": tokens},
        store=store,
    ).artifact
    signals = run_stage(
        teacher_signals.STAGE,
        teacher_signals.Config(precision="fp32"),
        {"teacher": from_teacher, "tokens": tokens},
        store=store,
    ).artifact
    learned = run_stage(
        distillation.STAGE,
        distillation.Config(
            problem=problem,
            architecture=SHAPE,
            objective=ObjectiveConfig(alpha=0.7, temperature=TEMPERATURE, hard_labels="gold"),
            training=training,
            seed=1,
        ),
        {"tokens": tokens, "signals": signals},
        store=store,
    ).artifact
    [of_teacher], [of_student] = (
        json.loads((one.path / "history.json").read_text())["steps"]
        for one in (from_teacher, learned)
    )
    rows = read_table(tokens.path / "transfer" / "part-00000.parquet").to_pylist()
    theirs, mine = (
        list(logits_of(problem, one.path / "model", rows)) for one in (from_teacher, learned)
    )
    hard, kd = losses_of(problem, rows, mine, theirs)
    assert of_teacher["loss_hard"] == pytest.approx(losses_of(problem, rows, theirs)[0], rel=1e-4)
    assert of_student["loss_hard"] == pytest.approx(hard, rel=1e-4)
    assert of_student["loss_kd"] == pytest.approx(kd, rel=1e-4)
    assert of_student["loss"] == pytest.approx(0.7 * kd + 0.3 * hard, rel=1e-4)
