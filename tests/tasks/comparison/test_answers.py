"""Predictions leave the evaluation as the contract says, or not at all."""

import numpy as np
import pytest

from data_contracts.errors import ContractViolation
from tasks.comparison.answers import write_predictions
from tasks.corpus.tables import read_table
from tasks.metrics.systems import Answers

IDS = tuple(f"{i:032x}" for i in range(3))


def answers(ids=IDS, confidence=0.9, seeds=1):
    labels = np.array([0, 1, 1])
    return Answers(ids, labels, np.array([[0, 1, 0]] * seeds), np.full((seeds, 3), confidence))


def test_answers_are_written_by_name_a_file_a_seed(tmp_path):
    """Class numbers in a file mean another label as soon as the label set grows."""
    write_predictions({"student": answers(seeds=2), "majority": answers()}, ("off", "on"), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "student_0.parquet",
        "student_1.parquet",
        "majority.parquet",
    }
    rows = read_table(tmp_path / "majority.parquet").to_pydict()
    assert rows["example_id"] == list(IDS)
    assert (rows["label"], rows["prediction"]) == (["off", "on", "on"], ["off", "on", "off"])


def test_a_probability_rounded_above_one_is_one(tmp_path):
    """An ulp of a softmax sum would stop an evaluation of hours."""
    write_predictions({"majority": answers(confidence=1 + 1e-12)}, ("off", "on"), tmp_path)
    assert read_table(tmp_path / "majority.parquet")["confidence"].to_pylist() == [1.0] * 3


@pytest.mark.parametrize(
    ("wrong", "column"),
    [
        (answers(confidence=np.nan), "confidence"),
        (answers(ids=(IDS[0], IDS[0], IDS[1])), "example_id"),
        (answers(ids=("a", "b", "c")), "example_id"),
    ],
)
def test_what_breaks_the_contract_is_not_written(tmp_path, wrong, column):
    """The paired comparison with the next champion joins these files by example id."""
    with pytest.raises(ContractViolation, match=column):
        write_predictions({"majority": wrong}, ("off", "on"), tmp_path)
    assert not list(tmp_path.iterdir())
