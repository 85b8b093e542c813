"""Sums that a score is made of: one row of numbers an example, added over the test set.

    example ─► statistics (K numbers) ─► sum over the examples ─► score

    accuracy    [right, 1]                     Σ right / Σ 1
    macro_f1    [hits | decided | support]     mean over classes of 2 hits / (decided + support)
    entity_f1   [hits, decided, gold]          2 hits / (decided + gold)
    bleu        [lengths, n-grams]             Papineni's formula of the sums

Every metric of every problem is of this form, so one bootstrap serves them all: a resample only
changes how often each example's row is added. Rows are kept sparse: of 3 C numbers for C classes an
example fills at most three.

Shapes: N examples, K statistics, S seeds, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import sparse

from data_contracts.evaluation import Metric, Scores
from tasks.metrics.scores.classification import FloatArray

Statistics: TypeAlias = sparse.csr_array
"""(N, K), float64: one row an example."""


@dataclass(frozen=True)
class Measure:
    """A metric, and how sums of its statistics become a score.

    Args:
        metric: its name and meaning, as the report keeps it.
        score: sums (..., K) -> scores (...), fractions.
        is_mean: whether the statistics are [value, 1] and the score is their quotient: its exact
            tests are those of a mean.
    """

    metric: Metric
    score: Callable[[FloatArray], FloatArray]
    is_mean: bool = False

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.metric.name


def mean_of(sums: FloatArray) -> FloatArray:
    """Σ value / Σ 1 of sums (..., 2); 0 without examples."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1e-12)


def f1_of(sums: FloatArray) -> FloatArray:
    """2 hits / (decided + gold) of sums (..., 3); 0 where there is nothing to find or found."""
    return _quotient(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def precision_of(sums: FloatArray) -> FloatArray:
    """Hits / decided of sums (..., 3)."""
    return _quotient(sums[..., 0], sums[..., 1])


def recall_of(sums: FloatArray) -> FloatArray:
    """Hits / gold of sums (..., 3)."""
    return _quotient(sums[..., 0], sums[..., 2])


def macro_f1_of(sums: FloatArray) -> FloatArray:
    """Mean F1 over the classes with support, of sums (..., 3 C): hits | decided | support."""
    hits, decided, support = _by_class(sums)
    occurs = support > 0
    f1 = _quotient(2 * hits, decided + support)
    return _quotient((f1 * occurs).sum(axis=-1), occurs.sum(axis=-1))


def micro_f1_of(sums: FloatArray) -> FloatArray:
    """F1 of the decisions of all classes together, of sums (..., 3 C)."""
    hits, decided, support = (part.sum(axis=-1) for part in _by_class(sums))
    return _quotient(2 * hits, decided + support)


def weighted_f1_of(sums: FloatArray) -> FloatArray:
    """Mean F1 weighted by support, of sums (..., 3 C)."""
    hits, decided, support = _by_class(sums)
    f1 = _quotient(2 * hits, decided + support)
    return _quotient((f1 * support).sum(axis=-1), support.sum(axis=-1))


def values(of_examples: Sequence[float] | np.ndarray) -> Statistics:
    """Statistics (N, 2) of a mean over examples: [value, 1]."""
    column = np.asarray(of_examples, dtype=np.float64)
    return rows(np.stack([column, np.ones_like(column)], axis=1))


def rows(of_examples: Sequence[Sequence[float]] | np.ndarray) -> Statistics:
    """Statistics (N, K) from a dense table of them."""
    return sparse.csr_array(np.asarray(of_examples, dtype=np.float64))


def one_after_the_other(first: Statistics | int, second: Statistics | int) -> Statistics:
    """Statistics of two sets of examples as those of their union.

    Args:
        first, second: statistics, or how many examples there are of which the metric says nothing.
    """
    width = max(size(one)[1] for one in (first, second) if not isinstance(one, int))
    parts = [
        sparse.csr_array((one, width), dtype=np.float64) if isinstance(one, int) else one
        for one in (first, second)
    ]
    return sparse.csr_array(sparse.vstack(parts))


def size(statistics: Statistics) -> tuple[int, int]:
    """(N, K)."""
    num_examples, width = statistics.shape  # pyright: ignore[reportGeneralTypeIssues]
    return num_examples, width


def totals(statistics: Statistics) -> FloatArray:
    """Sums (K,) over the examples."""
    return np.asarray(statistics.sum(axis=0), dtype=np.float64).reshape(-1)


def scores_of(statistics: Mapping[str, Statistics], measures: Sequence[Measure]) -> Scores:
    """Scores by metric; metrics without statistics are left out."""
    return {
        measure.name: float(measure.score(totals(statistics[measure.name])))
        for measure in measures
        if measure.name in statistics
    }


def _by_class(sums: FloatArray) -> list[FloatArray]:
    return np.split(sums, 3, axis=-1)


def _quotient(upper: FloatArray, lower: FloatArray) -> FloatArray:
    """`upper / lower`, 0 where `lower` is 0."""
    upper, lower = np.asarray(upper, np.float64), np.asarray(lower, np.float64)
    return np.divide(upper, lower, out=np.zeros(np.broadcast(upper, lower).shape), where=lower > 0)
