"""Validation rows: what is tuned on them, and what their answers are compared with."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from data_contracts.errors import ContractViolation
from tasks.corpus.tables import write_table
from tasks.modeling.heads.classifier import EncoderEmbedder
from tasks.problems import PROBLEMS, load_model
from tasks.problems.question_answering import QuestionAnswering
from tasks.runtime.stages import Workspace
from tasks.training.batching.batches import make_step
from tasks.training.batching.examples import examples_of, read_rows
from tasks.training.batching.layouts import Layout
from tasks.training.engine.diagnostics import Findings
from tasks.training.fitting.fit import fit
from tasks.training.fitting.held_out import HeldOut
from tasks.training.fitting.inference import predict_rows
from tasks.training.objectives.config import HardTerm
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig
from tests.tasks.small_problems import make_inputs

LABELS = {
    "question_answering": ["start", "end"],
    "multilabel_classification": ["lamp", "music", "door"],
}
LIST = pa.list_(pa.int32())


def questions(role, language):
    """Five sentences, and a question that every other context does not answer."""
    rooms = ["hall", "attic", "cellar", "garden", "garage"]
    for i in range(10):
        text = " ".join(f"The {room} is {i + n} wide." for n, room in enumerate(rooms))
        answer = str(i + i % 5)
        yield {
            "text": text, "parallel_text": None, "question": f"How wide is the {rooms[i % 5]}?",
            "domain": None, "answer_starts": [text.index(answer)] if i % 2 else [],
            "answer_texts": [answer] if i % 2 else [],
        }  # fmt: skip


def wishes(role, language):
    """Every set of things, also none."""
    for number in range(8):
        chosen = [name for i, name in enumerate(LABELS["multilabel_classification"])
                  if number >> i & 1]  # fmt: skip
        yield {"text": " ".join(["turn", "on", *chosen]), "parallel_text": None, "labels": chosen}


@pytest.mark.parametrize(
    ("name", "rows_of"),
    [("question_answering", questions), ("multilabel_classification", wishes)],
)
def test_thresholds_are_tuned_for_the_weights_that_are_delivered(
    store, publish, tmp_path, name, rows_of
):
    """Decisions cut where they were best for the last step, or for training rows."""
    problem = PROBLEMS[name]
    inputs = make_inputs(store, publish, name, rows_of, LABELS[name], num_seeds=1)
    tokens = inputs["student_tokens"].path
    examples = examples_of(problem, read_rows(tokens, ["train"]), LABELS[name])
    # Trained on wrong answers, so that the best weights are not the last.
    examples = replace(examples, labels=np.roll(examples.labels, 1, axis=-1))
    terms = (HardTerm(kind="hard"), HardTerm(kind="hard", name="again", weight=0.5))
    objective = Objective(terms, is_binary=problem.distribution == "binary")
    config = TrainingConfig(
        num_epochs=4, batch_size=4, learning_rate=0.03, precision="fp32", selection="loss"
    )
    workspace = Workspace(tmp_path / "output", tmp_path / "work", store)
    workspace.output.mkdir()
    fit(
        load_model(inputs["student_0"].path / "model"), examples, objective, config, problem=name,
        tokens=tokens, seed=1, workspace=workspace, findings=Findings(),
    )  # fmt: skip
    history = json.loads((workspace.output / "history.json").read_text())
    assert history["best_step"] < history["validations"][-1]["step"]
    table = read_rows(tokens, ["validation"])
    model = load_model(workspace.output / "model")
    said = predict_rows(
        model, problem, table, num_labels=len(LABELS[name]), pad_token_id=0, precision="fp32"
    )
    expected = problem.thresholds(table, *said)
    found = json.loads((workspace.output / "model" / "thresholds.json").read_text())
    assert found == expected
    assert found not in ({"null_threshold": 0.0}, {"thresholds": [0.5] * 3}), "nothing was tuned"
    (best,) = [one for one in history["validations"] if one["step"] == history["best_step"]]
    assert best["loss"] == pytest.approx(
        problem.score(table, *said, labels=LABELS[name])["loss"], rel=1e-6
    )


def test_answers_to_validation_rows_are_as_long_as_the_reader_may_give(store, publish, tmp_path):
    """The step was chosen, and "no answer" tuned, by answers shorter than those delivered."""
    name = "question_answering"
    inputs = make_inputs(store, publish, name, questions, LABELS[name], num_seeds=1)
    tokens = shutil.copytree(inputs["student_tokens"].path, tmp_path / "tokens")
    facts = json.loads((tokens / "tokens.json").read_text())
    (tokens / "tokens.json").write_text(json.dumps({**facts, "max_answer_units": 2}))
    model = load_model(inputs["student_0"].path / "model")
    settings = {"language": None, "pad_token_id": 0, "precision": "fp32"}
    longer = HeldOut(PROBLEMS[name], tokens, **settings)
    assert longer.thresholds(model)["max_answer_units"] == 2
    table = read_rows(tokens, ["validation"])
    _, answers = longer.said_by(model)
    bits = np.stack([answers.labels & 1, answers.labels & 2], axis=1) > 0
    logits = np.where(bits, 5, 0).astype(np.float32)
    for row in np.flatnonzero(np.asarray(table["window"]) == 0):  # all of a context is likelier
        logits[answers.units.offsets[row] + 1, 0] = 6
        logits[answers.units.offsets[row + 1] - 1, 1] = 6
    expected = QuestionAnswering(2).score(table, logits, answers, labels=LABELS[name])
    assert longer.score(logits, answers) == expected
    usual = PROBLEMS[name].score(table, logits, answers, labels=LABELS[name])
    assert expected["exact_match"] > usual["exact_match"]


IDS = [[2, 7, 9, 3], [2, 8, 5, 4, 6, 3], [2, 11, 3], [2, 6, 6, 8, 3]]
POSITIONS = [[1, 2], [1, 1, 4], [1], [1, 3, 3]]  # tokens of one unit and of two
TOKENS_OF = {
    "text_classification": {"label": pa.array([0, 2, 1, 2], pa.int32())},
    "matching": {"label": pa.array([0, 2, 1, 1], pa.int32())},
    "multilabel_classification": {"labels": pa.array([[0, 2], [], [1], [0]], LIST)},
    "token_classification": {
        "unit_positions": pa.array(POSITIONS, LIST),
        "unit_labels": pa.array([[0, 1], [2, 0, 0], [1], [0, 2, 2]], LIST),
    },
    # the second context is not labelled, the third holds no answer, the fourth before its window
    "question_answering": {
        "unit_positions": pa.array(POSITIONS, LIST),
        "window": pa.array([0, 0, 0, 1], pa.int32()),
        "first_unit": pa.array([0, 0, 0, 2], pa.int32()),
        "num_units": pa.array([2, 3, 1, 5], pa.int32()),
        "start_unit": pa.array([0, -1, -2, 0], pa.int32()),
        "end_unit": pa.array([1, -1, -2, 1], pa.int32()),
    },
}


@pytest.mark.parametrize("name", TOKENS_OF)
def test_validation_tells_the_loss_that_training_tells(toy, name):
    """A validation loss on another scale than the training loss looks like overfitting, or hides
    it."""
    problem = PROBLEMS[name]
    names = ["start", "end"] if name == "question_answering" else ["O", "B-LOC", "I-LOC"]
    ids = {"example_id": [f"{row:032x}" for row in range(4)], "language": ["zh"] * 4}
    table = pa.table({**ids, "input_ids": pa.array(IDS, LIST), **TOKENS_OF[name]})
    torch.manual_seed(0)
    model = problem.build_model(
        toy["model"]().backbone, num_labels=len(names), pooling="mean", dropout=0.0
    ).eval()
    torch.nn.init.normal_(model.head.weight, std=2.0)
    examples = examples_of(problem, table, names)
    layout = Layout("bucketed", 12)
    step = make_step(examples, np.arange(4), layout=layout, pad_token_id=0)
    assert len(step.passes) > 1
    objective = Objective((HardTerm(kind="hard"),), is_binary=problem.distribution == "binary")
    with torch.no_grad():
        trained = sum(objective.terms(model, one, step)["loss"].item() for one in step.passes)
    said = predict_rows(
        model, problem, table, num_labels=len(names), pad_token_id=0, precision="fp32"
    )
    validated = problem.score(table, *said, labels=names)["loss"]
    assert validated == pytest.approx(trained, rel=1e-5)


INT = pa.int32()
# Two rows of each problem, of which the second has no answer.
HALF_LABELLED = {
    "text_classification": {"label": pa.array([1, -1], INT)},
    "multilabel_classification": {"labels": pa.array([[], None], LIST)},
    "token_classification": {
        "unit_positions": pa.array([[1], [1]], LIST), "unit_labels": pa.array([[0], [-1]], LIST),
    },
    "question_answering": {
        "first_unit": pa.array([0, 0], INT), "num_units": pa.array([1, 1], INT),
        "unit_positions": pa.array([[1], [1]], LIST),
        "start_unit": pa.array([-2, -1], INT), "end_unit": pa.array([-2, -1], INT),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", HALF_LABELLED)
def test_validation_rows_without_a_label_are_refused(tmp_path, name):
    """An answer that can only be wrong, or the last class taken for the right one: the step that
    is delivered is chosen by it."""
    (tmp_path / "labels.json").write_text('{"labels": ["a", "b"]}')
    (tmp_path / "tokens.json").write_text("{}")
    rows = {"example_id": ["0" * 32, "1" * 32], "input_ids": [[2, 5], [2, 6]]}
    table = pa.table({**rows, **HALF_LABELLED[name]})
    options = {"language": None, "pad_token_id": 0, "precision": "fp32"}
    write_table(table, tmp_path / "validation" / "part-00000.parquet")
    with pytest.raises(ContractViolation, match="answers to the validation rows have no label"):
        HeldOut(PROBLEMS[name], tmp_path, **options)
    write_table(table.slice(0, 1), tmp_path / "validation" / "part-00000.parquet")
    HeldOut(PROBLEMS[name], tmp_path, **options)


def test_vectors_are_compared_with_the_teacher_s_of_the_same_row(toy, tmp_path):
    """Signals joined by their place in the file: a student praised for another row's vector."""
    ids, vectors = ["a", "b", "c", "d"], np.eye(4, dtype=np.float32)
    tokens, signals = tmp_path / "tokens", tmp_path / "signals"
    for folder in (tokens, signals):
        folder.mkdir()
        (folder / "labels.json").write_text('{"labels": []}')
    (tokens / "tokens.json").write_text("{}")
    rows = {"example_id": ids, "input_ids": [[1], [2], [3], [4]], "language": ["zh"] * 4}
    write_table(pa.table(rows), tokens / "validation" / "part-00000.parquet")
    said = {"example_id": ids[::-1], "embedding": vectors[::-1].tolist()}
    schema = pa.schema({"example_id": pa.string(), "embedding": pa.list_(pa.float32(), 4)})
    table = pa.table(said, schema=schema)
    write_table(table, signals / "validation" / "part-00000.parquet")
    problem = PROBLEMS["sentence_embedding"]
    held_out = HeldOut(
        problem, tokens, language="zh", pad_token_id=0, precision="fp32", signals=signals
    )
    model = EncoderEmbedder(toy["model"]().backbone, num_labels=4, pooling="mean", dropout=0.0)
    logits, answers = held_out.said_by(model)
    assert logits.shape == (4, 4)
    assert np.array_equal(answers.labels, vectors)
    assert held_out.score(vectors, answers) == {"accuracy_at_1": 1.0, "mrr": 1.0, "loss": 0.0}
