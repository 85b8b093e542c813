"""How far a confidence can be believed.

The expected calibration error sorts examples by their top-1 probability into equally wide bins and
averages |accuracy - mean confidence|, weighted by how many examples a bin holds. It depends on the
number of bins and is biased upwards on small test sets: compare it only at equal bins and sizes.

References: Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599, section 2 (15 bins).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import softmax

from tasks.metrics.scores.classification import FloatArray, IntArray


@dataclass(frozen=True)
class ReliabilityBins:
    """Arrays of shape (bins,): bin b covers confidences in (edges[b], edges[b + 1]].

    `accuracy` and `confidence` are NaN in an empty bin.
    """

    edges: FloatArray
    count: IntArray
    accuracy: FloatArray
    confidence: FloatArray


def top_probabilities(logits: FloatArray) -> tuple[IntArray, FloatArray]:
    """Decided class and its softmax probability for each row of logits (N, C), in float64."""
    probabilities = softmax(logits.astype(np.float64), axis=-1)
    decided = probabilities.argmax(axis=-1)
    return decided, np.take_along_axis(probabilities, decided[:, None], axis=-1)[:, 0]


def entropy(logits: FloatArray) -> FloatArray:
    """Entropy of softmax(logits) for each row of (N, C), in nats."""
    probabilities = softmax(logits.astype(np.float64), axis=-1)
    safe = np.where(probabilities > 0, probabilities, 1.0)
    return -(probabilities * np.log(safe)).sum(axis=-1)


def reliability_bins(
    confidences: FloatArray, correct: np.ndarray, *, num_bins: int = 15
) -> ReliabilityBins:
    """Counts, accuracy and mean confidence in equally wide bins.

    Args:
        confidences: top-1 probabilities, shape (N,), in 0..1. An exact 0 falls into the first bin.
        correct: whether each decision was right, shape (N,), boolean.
        num_bins: bins over 0..1.

    Raises:
        ValueError: if a confidence lies outside 0..1 or the shapes differ.
    """
    if confidences.shape != correct.shape:
        raise ValueError(f"confidences {confidences.shape} and correct {correct.shape} differ")
    if confidences.size and not (confidences.min() >= 0 and confidences.max() <= 1 + 1e-9):
        raise ValueError(
            f"confidences span {confidences.min()}..{confidences.max()}: give probabilities"
        )
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    which = _bin_of(confidences, edges)
    count = np.bincount(which, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        accuracy = np.bincount(which, weights=correct, minlength=num_bins) / count
        confidence = np.bincount(which, weights=confidences, minlength=num_bins) / count
    return ReliabilityBins(edges, count, accuracy, confidence)


def expected_calibration_error(bins: ReliabilityBins) -> float:
    """Mean |accuracy - confidence| over the examples of `bins`, a fraction in 0..1."""
    filled = bins.count > 0
    gaps = np.abs(bins.accuracy[filled] - bins.confidence[filled])
    return float(gaps @ bins.count[filled] / bins.count.sum())


def calibration_statistics(
    confidences: FloatArray, correct: np.ndarray, *, num_bins: int = 15
) -> sparse.csr_array:
    """Statistics (N, 2 * bins) whose sums give the error: gap | 1, at each example's bin.

    Args:
        confidences, correct: as in `reliability_bins`.
    """
    which = _bin_of(confidences, np.linspace(0.0, 1.0, num_bins + 1))
    examples = np.arange(confidences.size)
    gaps = correct.astype(np.float64) - confidences
    return sparse.csr_array(
        (
            np.concatenate([gaps, np.ones_like(gaps)]),
            (np.concatenate([examples, examples]), np.concatenate([which, num_bins + which])),
        ),
        shape=(confidences.size, 2 * num_bins),
    )


def error_of(sums: FloatArray) -> FloatArray:
    """Expected calibration error from sums (..., 2 * bins): Σ |Σ gap| / N."""
    gaps, counts = np.split(sums, 2, axis=-1)
    return np.abs(gaps).sum(axis=-1) / np.maximum(counts.sum(axis=-1), 1e-12)


def _bin_of(confidences: FloatArray, edges: FloatArray) -> IntArray:
    return np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, len(edges) - 2)
