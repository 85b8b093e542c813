"""Answers of classes: their sums against scikit-learn, and the report's tables."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tasks.metrics.calibration import expected_calibration_error, reliability_bins
from tasks.metrics.class_answers import (
    MEASURES,
    class_answers,
    class_table,
    frequent_confusions,
)
from tasks.metrics.systems import scores_by_seed

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
NAMES = ("on", "off", "play")
STUDENT = class_answers(
    tuple("abcdefgh"),
    LABELS,
    np.array([[0, 0, 1, 1, 1, 2, 2, 0], [0, 0, 0, 1, 1, 2, 2, 2]]),
    np.full((2, 8), 0.9),
    num_classes=3,
)


def test_sums_give_what_scikit_learn_gives():
    """Statistics that do not add up to the metric make every interval about something else."""
    rng = np.random.default_rng(0)
    labels, decided = rng.integers(0, 7, 300), rng.integers(0, 9, 300)
    sure = rng.uniform(0.1, 1, 300)
    found = class_answers(
        [str(i) for i in range(300)], labels, decided[None], sure[None], num_classes=9
    )
    [scores] = scores_by_seed(found, MEASURES)
    assert scores["accuracy"] == pytest.approx(np.mean(labels == decided))
    for average in ("macro", "micro", "weighted"):
        present = np.unique(labels) if average == "macro" else None
        expected = f1_score(labels, decided, labels=present, average=average, zero_division=0)
        assert scores[f"{average}_f1"] == pytest.approx(expected)
    bins = reliability_bins(sure, labels == decided)
    assert scores["ece"] == pytest.approx(expected_calibration_error(bins))


def test_class_table_and_confusions_speak_of_seed_0():
    """The delivered model is seed 0: a table of the best seed would flatter it."""
    table = class_table(STUDENT, NAMES, system="student, seed 0")
    assert table.accuracy == pytest.approx(6 / 8)
    assert [row.label for row in table.rows] == list(NAMES)
    assert [row.support for row in table.rows] == [3, 2, 3]
    assert table.weighted.support == 8
    found = frequent_confusions(STUDENT, NAMES)
    assert [(one.label, one.prediction, one.count) for one in found] == [
        ("on", "off", 1),
        ("play", "on", 1),
    ]
    assert found[0].share == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("labels", "decided", "said"),
    [
        ([0, 1], [0, 3], "predictions hold classes 0..3, but the label set has 3"),
        ([0, -1], [0, 1], "labels hold classes -1..0"),
        ([0, 1, 2], [0], "must be equally long"),
        ([], [], "no labelled examples"),
    ],
)
def test_classes_that_there_are_not_are_refused(labels, decided, said):
    """A decision for class 3 of three is, in the table of sums, support of class 0."""
    labels, decided = np.array(labels, dtype=int), np.array([decided], dtype=int)
    ids = [str(number) for number in range(labels.size)]
    with pytest.raises(ValueError, match=said):
        class_answers(ids, labels, decided, np.full(decided.shape, 0.9), num_classes=3)
