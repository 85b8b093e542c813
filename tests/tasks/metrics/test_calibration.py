"""Calibration against a naive loop and closed forms."""

import math

import numpy as np
import pytest

from tasks.metrics.calibration import (
    entropy,
    expected_calibration_error,
    reliability_bins,
    top_probabilities,
)


def naive_ece(confidences, correct, num_bins):
    total = 0.0
    for b in range(num_bins):
        low, high = b / num_bins, (b + 1) / num_bins
        rows = [i for i, c in enumerate(confidences) if low < c <= high or (b == 0 and c == 0)]
        if rows:
            accuracy = sum(float(correct[i]) for i in rows) / len(rows)
            confidence = sum(float(confidences[i]) for i in rows) / len(rows)
            total += len(rows) / len(confidences) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("num_bins", [2, 10, 15])
def test_ece_matches_a_naive_loop(num_bins):
    """A bin boundary on the wrong side moves whole groups of rounded confidences."""
    rng = np.random.default_rng(0)
    confidences = rng.random(500).round(2)
    # Were all bins too sure, or all too unsure, any bins would give the same error.
    correct = np.floor(confidences * 37) % 2 == 0
    found = expected_calibration_error(reliability_bins(confidences, correct, num_bins=num_bins))
    assert found == pytest.approx(naive_ece(confidences, correct, num_bins), abs=1e-12)


def test_certain_and_right_is_perfect_certain_and_wrong_is_worst():
    """The ends of the scale, where confidences of exactly 1 and 0 fall on an outer edge."""
    ones = np.ones(8)
    assert expected_calibration_error(reliability_bins(ones, ones.astype(bool))) == 0.0
    assert expected_calibration_error(reliability_bins(ones, np.zeros(8, bool))) == 1.0
    assert reliability_bins(np.zeros(3), np.ones(3, bool)).count[0] == 3


def test_percentages_are_refused():
    """Confidences of 0..100 would all fall into the last bin."""
    with pytest.raises(ValueError, match="probabilities"):
        reliability_bins(np.array([50.0]), np.array([True]))


def test_entropy_and_top_probability_have_their_closed_forms():
    """Large logits overflow a naive softmax; a sure teacher must have entropy 0, not NaN."""
    logits = np.array([[0.0, 0.0, 0.0, 0.0], [2000.0, 0.0, 0.0, 0.0]], dtype=np.float32)
    assert entropy(logits) == pytest.approx([math.log(4), 0.0])
    decided, sure = top_probabilities(logits)
    assert decided.tolist() == [0, 0]
    assert sure == pytest.approx([0.25, 1.0])
