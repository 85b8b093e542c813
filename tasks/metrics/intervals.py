"""How sure a difference is: bootstrap intervals and paired p-values over test examples.

Resampling N examples with replacement draws how often each example occurs. Examples with the same
label and the same answers of every system are interchangeable, so it is exactly equivalent, and far
cheaper, to draw one multinomial count per *distinct pattern*: a test set of a million examples with
500 patterns costs as much as one of 500 examples.

Systems trained with several seeds are scored as the mean over their seeds *within* each resample.
The interval therefore tells the uncertainty of the test set, not that of training again; the spread
over seeds is reported beside it and is not part of it.

References: Efron & Tibshirani 1993, chapter 13 (percentile interval); Berg-Kirkpatrick et al. 2012
(paired bootstrap in NLP); Dietterich 1998 (McNemar's test for classifiers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy import sparse
from scipy.stats import binomtest

from tasks.metrics.classification import FloatArray, IntArray, check_classes
from tasks.runtime.seeding import generator

Metric = Literal["accuracy", "macro_f1"]
# Counts drawn at once: 4 million int64, 32 MB, whatever the test set's size.
_CHUNK_COUNTS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A point estimate and its percentile interval at `confidence`."""

    estimate: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class ResampledScore:
    """A score on the test set and on each resample of it (shape (R,)), means over seeds."""

    estimate: float
    resamples: FloatArray


def resample_scores(
    labels: IntArray,
    systems: Sequence[IntArray],
    *,
    metric: Metric,
    num_classes: int,
    num_resamples: int = 2000,
    seed: int = 0,
    stream: str = "paired",
) -> list[ResampledScore]:
    """Score systems that answered one test set on the same bootstrap resamples of it.

    Args:
        labels: gold classes, shape (N,).
        systems: for each system its decisions, shape (S, N): one row a training seed.
        metric: `accuracy`, or `macro_f1` over the classes with support in the resample.
        num_classes: size of the label set.
        num_resamples: R.
        seed: seed of the resamples, which are the same in every process.
        stream: names the random stream. Two calls for two *independent* test sets must give two
            names, otherwise their resamples are correlated.

    Returns:
        One `ResampledScore` a system; entries of the same position share a resample, so their
        difference is a paired one.

    Raises:
        ValueError: if the shapes differ or a class is out of range.
    """
    for decisions in systems:
        for one_seed in decisions:
            check_classes(labels, one_seed, num_classes=num_classes)
    patterns, counts = np.unique(np.vstack([labels[None, :], *systems]), axis=1, return_counts=True)
    bounds = np.cumsum([1, *(len(decisions) for decisions in systems)])
    scorers = [
        _Scorer(patterns[0], patterns[start:stop], metric, num_classes)
        for start, stop in pairwise(bounds)
    ]
    estimates = [float(scorer(counts[None, :])[0]) for scorer in scorers]
    rng = generator(seed, "bootstrap", stream)
    chunk = max(1, _CHUNK_COUNTS // max(len(counts), num_classes))
    scores: list[list[FloatArray]] = [[] for _ in systems]
    for start in range(0, num_resamples, chunk):
        size = min(chunk, num_resamples - start)
        drawn = rng.multinomial(labels.size, counts / labels.size, size=size)
        for collected, scorer in zip(scores, scorers, strict=True):
            collected.append(scorer(drawn))
    return [
        ResampledScore(estimate, np.concatenate(collected))
        for estimate, collected in zip(estimates, scores, strict=True)
    ]


class _Scorer:
    """Score of one system, mean over its seeds, from how often each pattern occurs."""

    def __init__(
        self, labels: IntArray, decisions: IntArray, metric: Metric, num_classes: int
    ) -> None:
        self.labels, self.decisions, self.metric = labels, decisions, metric
        self.num_classes = num_classes
        self.share_correct = (decisions == labels).mean(axis=0)

    def __call__(self, counts_RK: IntArray) -> FloatArray:  # noqa: N803  # resamples, patterns
        """Scores (R,) from pattern counts (R, K)."""
        if self.metric == "accuracy":
            return counts_RK @ self.share_correct / counts_RK.sum(axis=1)
        support = self._per_class(counts_RK, self.labels)
        per_seed = []
        for decisions in self.decisions:
            correct = self._per_class(counts_RK, self.labels, keep=decisions == self.labels)
            decided = self._per_class(counts_RK, decisions)
            # F1 = 2 tp / (support + decided): no division by an absent class's zero precision.
            f1 = 2 * correct / np.maximum(support + decided, 1)
            occurs = support > 0
            per_seed.append((f1 * occurs).sum(axis=1) / occurs.sum(axis=1))
        return np.mean(per_seed, axis=0)

    def _per_class(
        self,
        counts_RK: IntArray,  # noqa: N803
        classes: IntArray,
        keep: np.ndarray | None = None,
    ) -> FloatArray:
        """Sum of pattern counts by class, (R, C), over the patterns to keep."""
        values = np.ones(classes.size) if keep is None else keep.astype(np.float64)
        one_hot = sparse.csr_array(
            (values, (classes, np.arange(classes.size))), shape=(self.num_classes, classes.size)
        )
        return (one_hot @ counts_RK.T.astype(np.float64)).T


def difference_interval(
    of: ResampledScore, against: ResampledScore, *, confidence: float = 0.95
) -> Interval:
    """Interval of `of` minus `against`, in the score's unit.

    Paired if both come from one `resample_scores` call; otherwise an independent bootstrap of two
    test sets, which is wider.
    """
    return _percentile(of.estimate - against.estimate, of.resamples - against.resamples, confidence)


def ratio_interval(
    of: ResampledScore, against: ResampledScore, *, confidence: float = 0.95
) -> Interval:
    """Interval of `of` divided by `against`: retention, unitless.

    Raises:
        ValueError: if `against` scores zero on the test set or on a resample: no ratio exists.
    """
    if against.estimate <= 0 or against.resamples.min() <= 0:
        raise ValueError("a ratio needs a reference that scores above zero on every resample")
    return _percentile(of.estimate / against.estimate, of.resamples / against.resamples, confidence)


def _percentile(estimate: float, resamples: FloatArray, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(resamples, [tail, 1 - tail])
    return Interval(float(estimate), float(low), float(high), confidence)


def paired_p_value(
    labels: IntArray,
    of: IntArray,
    against: IntArray,
    *,
    num_permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of equal accuracy of two systems on one test set.

    With one seed each this is the exact McNemar test. With several, the systems' answers to an
    example are swapped at random (sign-flip permutation of the difference of the seeds' mean).

    Args:
        labels: gold classes, shape (N,).
        of: decisions of one system, shape (S, N).
        against: decisions of the other, shape (S', N).
        num_permutations: random swaps; the smallest possible p-value is 1 / (this + 1).
        seed: seed of the swaps.
    """
    differences = (of == labels).mean(axis=0) - (against == labels).mean(axis=0)
    # Sums of thirds differ in their last bits: equal magnitudes must count as equal.
    sizes, counts = np.unique(np.round(np.abs(differences), 9), return_counts=True)
    sizes, counts = sizes[sizes > 0], counts[sizes > 0]
    if sizes.size == 0:
        return 1.0
    if len(of) == len(against) == 1:
        won = int((differences > 0).sum())
        return float(binomtest(won, int(counts.sum())).pvalue)
    rng = generator(seed, "permutation")
    positive = rng.binomial(counts, 0.5, size=(num_permutations, counts.size))
    totals = np.abs((2 * positive - counts) @ sizes)
    observed = abs(differences.sum())
    return float((1 + (totals >= observed - 1e-6).sum()) / (num_permutations + 1))
