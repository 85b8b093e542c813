"""Records of the report from answers."""

import numpy as np
import pytest

from tasks.metrics.systems import (
    Answers,
    Resampling,
    class_table,
    compare,
    frequent_confusions,
    mean_and_spread,
    retain,
    scores_by_seed,
)

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
NAMES = ("on", "off", "play")


def answers(*decisions, ids=None, confidence=0.9):
    predictions = np.array(decisions)
    return Answers(
        ids or tuple("abcdefgh"), LABELS, predictions, np.full(predictions.shape, confidence)
    )


STUDENT = answers([0, 0, 1, 1, 1, 2, 2, 0], [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 1, 2, 2, 0])
BASELINE = answers([0, 0, 1, 1, 0, 2, 0, 0])


def test_mean_and_spread_over_seeds_by_hand():
    """ddof = 0 understates the spread of three seeds by a fifth."""
    seeds = scores_by_seed(STUDENT, num_classes=3, num_bins=15)
    accuracies = [6 / 8, 1.0, 5 / 8]
    assert [one.accuracy for one in seeds] == pytest.approx(accuracies)
    mean, sd = mean_and_spread(seeds)
    assert mean.accuracy == pytest.approx(sum(accuracies) / 3)
    by_hand = sum((a - sum(accuracies) / 3) ** 2 for a in accuracies) / 2
    assert sd.accuracy == pytest.approx(by_hand**0.5)
    assert [one.ece for one in seeds] == pytest.approx([abs(a - 0.9) for a in accuracies])


def test_one_seed_has_no_spread():
    """`± 0.0` would claim a certainty that one run does not have."""
    assert mean_and_spread(scores_by_seed(BASELINE, num_classes=3, num_bins=15))[1] is None


def test_same_examples_are_paired_and_others_are_not():
    """Pairing two different test sets by position compares unrelated examples."""
    elsewhere = answers(BASELINE.predictions[0], ids=tuple("ijklmnop"))
    found = {"student": STUDENT, "same": BASELINE, "other": elsewhere}
    resampling = Resampling(num_classes=3, num_resamples=200)
    same = compare(found, "student", "same", resampling)
    other = compare(found, "student", "other", resampling)
    assert [one.metric for one in same] == ["accuracy", "macro_f1"]
    assert all(one.paired for one in same)
    assert not any(one.paired for one in other)
    assert same[0].name == "student_minus_same"
    expected = (6 / 8 + 1 + 5 / 8) / 3 - 4 / 8
    assert same[0].difference == other[0].difference == pytest.approx(expected)
    assert same[0].p_value is not None
    assert other[0].p_value is None
    assert same[0].high - same[0].low < other[0].high - other[0].low


def test_retention_is_left_out_where_the_teacher_scores_nothing():
    """Infinity is not JSON, and not a retention."""
    wrong = answers((LABELS + 1) % 3, ids=tuple("ijklmnop"))
    assert retain(STUDENT, wrong, Resampling(num_classes=3, num_resamples=100)) == ()


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
