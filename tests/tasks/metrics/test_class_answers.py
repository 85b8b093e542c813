"""Answers of classes: their sums against scikit-learn, and the report's tables."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tasks.metrics.calibration import expected_calibration_error, reliability_bins
from tasks.metrics.class_answers import (
    MEASURES,
    calibrate,
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


def test_the_most_frequent_mistakes_are_the_ones_that_are_told():
    """A table of twelve mistakes made once, and the class that is always taken for another is in
    none of its lines."""
    counts = {("a", "b"): 2, ("a", "c"): 1, ("b", "a"): 5, ("c", "a"): 2, ("c", "c"): 4}
    pairs = [pair for pair, count in counts.items() for _ in range(count)]
    labels, decided = np.array([["abc".index(name) for name in pair] for pair in pairs]).T
    ids = [str(number) for number in range(len(pairs))]
    answers = class_answers(ids, labels, decided[None], np.ones((1, len(ids))), num_classes=3)
    found = frequent_confusions(answers, "abc", limit=3)
    assert [(one.label, one.prediction, one.count) for one in found] == [
        ("b", "a", 5), ("a", "b", 2), ("c", "a", 2),
    ]  # fmt: skip
    assert [one.share for one in found] == pytest.approx([5 / 5, 2 / 3, 2 / 6])


def test_calibration_is_that_of_the_bins_that_were_asked_for():
    """An empty bin drawn as one of probability 0, or a figure of other bins beside the plot."""
    labels, decided = np.zeros(4, dtype=int), np.array([[0, 1, 0, 0]])
    sure = np.array([[0.55, 0.65, 0.95, 0.95]])
    answers = class_answers(tuple("abcd"), labels, decided, sure, num_classes=2, num_bins=5)
    found = calibrate(answers, num_bins=5)
    assert [one.count for one in found.bins] == [0, 0, 1, 1, 2]
    assert [one.accuracy for one in found.bins] == [None, None, 1, 0, 1]
    assert [one.mean_confidence for one in found.bins] == [None, None, 0.55, 0.65, 0.95]
    assert [one.upper for one in found.bins] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    [scores] = scores_by_seed(answers, MEASURES)
    assert found.ece == pytest.approx((0.45 + 0.65 + 2 * 0.05) / 4)
    assert scores["ece"] == pytest.approx(found.ece)
