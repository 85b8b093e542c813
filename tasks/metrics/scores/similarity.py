"""How well scores follow graded similarity (STS): Pearson's and Spearman's correlation.

Both are functions of six sums. Spearman's is Pearson's of ranks, which are those in the whole test
set: a resample keeps them instead of ranking anew, which changes intervals by less than they can be
read to, and makes the same bootstrap serve it.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from data_contracts.evaluation import Metric
from tasks.metrics.scores.classification import FloatArray
from tasks.metrics.statistics import Measure, Statistics, rows


def correlation_of(sums: FloatArray) -> FloatArray:
    """Pearson's correlation of sums (..., 6) of x, y, x², y², xy, 1; 0 where one does not vary."""
    x, y, xx, yy, xy, count = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    shared = count * xy - x * y
    spread = np.maximum(count * xx - x * x, 0) * np.maximum(count * yy - y * y, 0)
    # In standard units the product is count⁴: less than this of it is rounding, not variance.
    varies = spread > 1e-12 * count**4
    return np.divide(shared, np.sqrt(spread), out=np.zeros_like(shared), where=varies)


SPEARMAN = Measure(
    Metric(name="spearman", display="Spearman", meaning="correlation of ranks with graded labels"),
    correlation_of,
)
PEARSON = Measure(
    Metric(name="pearson", display="Pearson", meaning="linear correlation with graded labels"),
    correlation_of,
)
MEASURES = (SPEARMAN, PEARSON)


def similarity_statistics(scores: FloatArray, labels: FloatArray) -> dict[str, Statistics]:
    """Statistics of both metrics.

    Args:
        scores: the model's similarities, (N,).
        labels: graded similarities, (N,).
    """
    return {
        "spearman": _products(rankdata(scores), rankdata(labels)),
        "pearson": _products(np.asarray(scores), np.asarray(labels)),
    }


def _products(x: np.ndarray, y: np.ndarray) -> Statistics:
    # In standard units: sums of squares of ranks up to a million would lose their digits.
    x, y = _standard(x), _standard(y)
    return rows(np.stack([x, y, x * x, y * y, x * y, np.ones_like(x)], axis=1))


def _standard(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    deviation = values.std()
    return (values - values.mean()) / (deviation if deviation > 0 else 1.0)
