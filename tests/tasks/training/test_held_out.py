"""Validation rows: what is tuned on them, and what their answers are compared with."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tasks.corpus.tables import write_table
from tasks.modeling.classifier import EncoderEmbedder
from tasks.problems import PROBLEMS, load_model
from tasks.runtime.stages import Workspace
from tasks.training.batching.examples import examples_of, read_rows
from tasks.training.config import TrainingConfig
from tasks.training.diagnostics import Findings
from tasks.training.fitting import fit
from tasks.training.held_out import HeldOut
from tasks.training.inference import predict_rows
from tasks.training.objective_config import HardTerm
from tasks.training.objectives import Objective
from tests.tasks.small_problems import make_inputs

LABELS = {
    "question_answering": ["start", "end"],
    "multilabel_classification": ["lamp", "music", "door"],
}


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
    # Taught the wrong answers, so that the best weights are not the last.
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


def test_vectors_are_compared_with_the_teacher_s_of_the_same_row(toy, tmp_path):
    """Signals joined by their place in the file: a student praised for another row's vector."""
    ids, vectors = ["a", "b", "c", "d"], np.eye(4, dtype=np.float32)
    tokens, signals = tmp_path / "tokens", tmp_path / "signals"
    for folder in (tokens, signals):
        folder.mkdir()
        (folder / "labels.json").write_text('{"labels": []}')
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
