"""Scores against hand-computed values, scikit-learn and naive loops."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tasks.metrics.scores.classification import classification_table, confusion_matrix

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTIONS = np.array([0, 0, 1, 1, 2, 2])


def test_table_matches_hand_computed_values():
    """A transposed confusion matrix swaps precision and recall and nobody notices."""
    table = classification_table(LABELS, PREDICTIONS, num_classes=4)
    assert table.precision == pytest.approx([1.0, 1 / 2, 1 / 2, 0.0])
    assert table.recall == pytest.approx([2 / 3, 1 / 2, 1.0, 0.0])
    assert table.f1 == pytest.approx([4 / 5, 1 / 2, 2 / 3, 0.0])
    assert table.support.tolist() == [3, 2, 1, 0]
    assert table.accuracy == table.micro.f1 == pytest.approx(4 / 6)
    assert table.macro.f1 == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    assert table.macro.precision == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert table.weighted.f1 == pytest.approx((3 * 4 / 5 + 2 * 1 / 2 + 1 * 2 / 3) / 6)
    assert table.weighted.recall == pytest.approx(4 / 6)


def test_macro_average_runs_over_classes_with_support():
    """A wild guess at an absent class would otherwise change the denominator of one system only."""
    rng = np.random.default_rng(1)
    labels, predictions = rng.integers(0, 5, 200), rng.integers(0, 9, 200)
    table = classification_table(labels, predictions, num_classes=12)
    expected = f1_score(labels, predictions, labels=np.unique(labels), average="macro")
    assert table.macro.f1 == pytest.approx(expected)


def test_confusion_rows_are_gold_classes():
    """Readers act on `X is taken for Y`: the axes must not be swapped."""
    expected = np.zeros((3, 3), dtype=int)
    for label, decided in zip(LABELS, PREDICTIONS, strict=True):
        expected[label, decided] += 1
    found = confusion_matrix(LABELS, PREDICTIONS, num_classes=3)
    assert found.tolist() == expected.tolist()
    assert found[0, 1] == 1
    assert found[1, 0] == 0


@pytest.mark.parametrize(
    ("labels", "predictions", "said"),
    [
        ([], [], "no labelled examples"),
        ([0, 1], [0], "equally long"),
        ([0, -1], [0, 0], "labels hold classes -1..0"),
        ([0, 1], [0, 3], "predictions hold classes 0..3"),
    ],
)
def test_broken_input_is_refused(labels, predictions, said):
    """Unlabelled rows (-1) scored as a class give a plausible, wrong accuracy."""
    with pytest.raises(ValueError, match=said):
        classification_table(np.array(labels, int), np.array(predictions, int), num_classes=3)
