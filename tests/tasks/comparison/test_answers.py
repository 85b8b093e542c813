"""Predictions leave the evaluation as the contract says, or not at all."""

import numpy as np
import pytest

from data_contracts.errors import ContractViolation
from tasks.comparison.answers import write_predictions, write_statistics
from tasks.comparison.material import Material
from tasks.comparison.problem import Settings
from tasks.comparison.problems.classification import TextClassification
from tasks.corpus.tables import read_table
from tasks.metrics.class_answers import class_answers

IDS = tuple(f"{i:032x}" for i in range(3))


def answers(ids=IDS, confidence=0.9, seeds=1):
    labels = np.array([0, 1, 1])
    decided, sure = np.array([[0, 1, 0]] * seeds), np.full((seeds, 3), confidence)
    return class_answers(ids, labels, decided, sure, num_classes=2)


@pytest.fixture
def problem(store, publish):
    """Off and on."""
    tokens = publish(
        store, "tokens", lambda out: (out / "labels.json").write_text('{"labels": ["off", "on"]}')
    )
    return TextClassification(Material({"student_tokens": tokens}, "en", "zh"), Settings())


def test_answers_are_written_by_name_a_file_a_seed(problem, tmp_path):
    """Class numbers in a file mean another label as soon as the label set grows."""
    found = {"student": answers(seeds=2), "majority": answers()}
    write_predictions(problem, found, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "student_0.parquet",
        "student_1.parquet",
        "majority.parquet",
    }
    rows = read_table(tmp_path / "out" / "majority.parquet").to_pydict()
    assert rows["example_id"] == list(IDS)
    assert (rows["label"], rows["prediction"]) == (["off", "on", "on"], ["off", "on", "off"])


def test_a_probability_rounded_above_one_is_one(problem, tmp_path):
    """An ulp of a softmax sum would stop an evaluation of hours."""
    write_predictions(problem, {"majority": answers(confidence=1 + 1e-12)}, tmp_path / "out")
    assert read_table(tmp_path / "out" / "majority.parquet")["confidence"].to_pylist() == [1.0] * 3


@pytest.mark.parametrize(
    ("wrong", "column"),
    [
        (answers(confidence=np.nan), "confidence"),
        (answers(ids=(IDS[0], IDS[0], IDS[1])), "example_id"),
        (answers(ids=("a", "b", "c")), "example_id"),
    ],
)
def test_what_breaks_the_contract_is_not_written(problem, tmp_path, wrong, column):
    """The paired comparison with the next champion joins these files by example id."""
    with pytest.raises(ContractViolation, match=column):
        write_predictions(problem, {"majority": wrong}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_statistics_tell_what_each_example_adds(problem, tmp_path):
    """Without them a later student can only be compared with a rounded score on record."""
    write_statistics(problem, {"student": answers(seeds=2)}, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "student_1.parquet").to_pydict()
    assert rows["example_id"] == list(IDS)
    assert rows["statistics"] == [[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]]
    off, on, also_on = rows["gold"]
    assert on == also_on != off
