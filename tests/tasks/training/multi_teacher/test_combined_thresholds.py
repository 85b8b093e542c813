"""Thresholds of several teachers' mean: those of contexts, whatever windows they were read in."""

import json

import pyarrow as pa
import pytest

from tasks import combined_signals
from tasks.corpus.tables import read_table
from tasks.problems import PROBLEMS, load_model
from tasks.runtime.stages import run_stage
from tasks.training.fitting.inference import predict_rows
from tasks.training.multi_teacher.combined_thresholds import combined_thresholds
from tests.tasks.small_problems import make_inputs


def rows_of(role, language):
    """Five sentences, and a question that every other context does not answer."""
    rooms = ["hall", "attic", "cellar", "garden", "garage"]
    for i in range(10):
        sentences = [f"The {room} is {i + n} wide." for n, room in enumerate(rooms)]
        text, asked = " ".join(sentences), rooms[i % 5]
        answer = str(i + i % 5)
        yield {
            "text": text, "parallel_text": None, "question": f"How wide is the {asked}?",
            "domain": None, "answer_starts": [text.index(answer)] if i % 2 else [],
            "answer_texts": [answer] if i % 2 else [],
        }  # fmt: skip


def test_two_teachers_of_one_mind_decide_as_each_alone(store, publish):
    """Windows that count their neighbours as "no answer" once more: nothing is answered then."""
    problem = PROBLEMS["question_answering"]
    inputs = make_inputs(store, publish, problem.name, rows_of, ["start", "end"], num_seeds=1)
    tokens = inputs["teacher_tokens"]
    signals = inputs["teacher_signals"]
    combined = run_stage(
        combined_signals.STAGE,
        combined_signals.Config(
            problem=problem.name, teachers=("teacher", "twin"),
            combination=combined_signals.Combination(),
        ),
        {"signals_teacher": signals, "signals_twin": signals, "tokens": tokens},
        store=store,
    ).artifact  # fmt: skip
    found = json.loads((combined.path / "thresholds.json").read_text())
    paths = sorted((tokens.path / "validation").glob("*.parquet"))

    table = pa.concat_tables([read_table(path) for path in paths])
    assert max(table["window"].to_pylist()) > 1
    said = predict_rows(
        load_model(inputs["teacher"].path / "model"), problem, table,
        num_labels=2, pad_token_id=0,
    )  # fmt: skip
    expected = problem.thresholds(table, *said)
    assert expected["null_threshold"] != 0
    assert found == {"null_threshold": pytest.approx(expected["null_threshold"], abs=1e-3)}


def test_without_validation_rows_there_is_nothing_to_tune_on(store, publish, tmp_path):
    """A teacher that was never asked about validation rows."""
    (tmp_path / "labels.json").write_text('{"labels": ["start", "end"]}')
    (tmp_path / "tokens.json").write_text("{}")
    assert combined_thresholds(PROBLEMS["question_answering"], tmp_path, tmp_path) is None
