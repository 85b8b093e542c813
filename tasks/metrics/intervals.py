"""How sure a difference is: bootstrap intervals and paired p-values over test examples.

Resampling N examples with replacement draws how often each example occurs. Examples with the same
statistics for every system are interchangeable, so it is exactly equivalent, and far cheaper, to
draw one multinomial count per *distinct pattern*: a test set of a million examples with 500
patterns costs as much as one of 500 examples.

Systems trained with several seeds are scored as the mean over their seeds *within* each resample.
The interval therefore tells the uncertainty of the test set, not that of training again; the spread
over seeds is reported beside it and is not part of it.

References: Efron & Tibshirani 1993, chapter 13 (percentile interval); Berg-Kirkpatrick et al. 2012
(paired bootstrap in NLP); Dietterich 1998 (McNemar's test for classifiers).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.stats import binomtest

from tasks.metrics.scores.classification import FloatArray, IntArray
from tasks.metrics.statistics import Measure, Statistics, size
from tasks.runtime.seeding import generator

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
    systems: Sequence[Sequence[Statistics]],
    *,
    score: Callable[[FloatArray], FloatArray],
    num_resamples: int = 2000,
    seed: int = 0,
    stream: str = "paired",
) -> list[ResampledScore]:
    """Score systems that answered one test set on the same bootstrap resamples of it.

    Args:
        systems: for each system the statistics (N, K) of each of its training seeds.
        score: sums (..., K) -> scores (...).
        num_resamples: R.
        seed: seed of the resamples, which are the same in every process.
        stream: names the random stream. Two calls for two *independent* test sets must give two
            names, otherwise their resamples are correlated.

    Returns:
        One `ResampledScore` a system; entries of the same position share a resample, so their
        difference is a paired one.

    Raises:
        ValueError: if the numbers of examples differ or there are none.
    """
    patterns, counts = distinct_patterns([one for runs in systems for one in runs])
    found = iter(patterns)
    scorers = [_Scorer([next(found) for _ in runs], score) for runs in systems]
    num_examples = int(counts.sum())
    estimates = [float(scorer(counts[None, :])[0]) for scorer in scorers]
    rng = generator(seed, "bootstrap", stream)
    widest = max(size(one)[1] for one in patterns)
    chunk = max(1, _CHUNK_COUNTS // max(len(counts), widest))
    scores: list[list[FloatArray]] = [[] for _ in systems]
    for start in range(0, num_resamples, chunk):
        drawn = rng.multinomial(
            num_examples, counts / num_examples, size=min(chunk, num_resamples - start)
        )
        for collected, scorer in zip(scores, scorers, strict=True):
            collected.append(scorer(drawn))
    return [
        ResampledScore(estimate, np.concatenate(collected))
        for estimate, collected in zip(estimates, scores, strict=True)
    ]


def distinct_patterns(runs: Sequence[Statistics]) -> tuple[list[Statistics], IntArray]:
    """The rows of each run at the examples that differ in any run, and how often each occurs.

    Rows are told apart by two random projections of all their numbers, which is checked: a
    collision, of the order of 1e-25 for two rows, would only cost speed.

    Returns: statistics (G, K) a run, and counts (G,).
    Raises: ValueError if the numbers of examples differ or there are none.
    """
    sizes = {size(one)[0] for one in runs}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"systems answered {sorted(sizes)} examples: give one test set, not empty")
    together = sparse.csr_array(sparse.hstack(runs, format="csr"))
    together.sum_duplicates()
    directions = generator(0, "patterns").standard_normal((size(together)[1], 2))
    projected = together @ directions
    keys = projected[:, 0] + 1j * projected[:, 1]
    _, first, which, counts = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    if (together != together[first][which]).nnz:
        return list(runs), np.ones(size(together)[0], dtype=np.int64)
    return [sparse.csr_array(one[first]) for one in runs], counts


class _Scorer:
    """Score of one system, mean over its seeds, from how often each pattern occurs."""

    def __init__(
        self, runs: Sequence[Statistics], score: Callable[[FloatArray], FloatArray]
    ) -> None:
        self.transposed = [sparse.csr_array(one.T) for one in runs]
        self.score = score

    def __call__(self, counts_RG: IntArray) -> FloatArray:
        """Scores (R,) from pattern counts (R, G)."""
        times = counts_RG.T.astype(np.float64)
        return np.mean([self.score((one @ times).T) for one in self.transposed], axis=0)


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
    of: Sequence[Statistics],
    against: Sequence[Statistics],
    measure: Measure,
    *,
    num_permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of equal scores of two systems on one test set.

    For accuracy with one seed each this is the exact McNemar test; for any other mean the systems'
    values of an example are swapped at random (sign flips of the difference of the seeds' means).
    For scores that are no mean over examples their statistics are swapped, averaged over seeds
    (approximate randomization).

    Args:
        of: statistics (N, K) of each seed of one system.
        against: those of the other, on the same examples.
        measure: the metric.
        num_permutations: random swaps; the smallest possible p-value is 1 / (this + 1).
        seed: seed of the swaps.

    References: Noreen 1989 (approximate randomization); Yeh 2000, arXiv:cs/0008005 (for F1).
    """
    if not measure.is_mean:
        return _swapped(_mean(of), _mean(against), measure, num_permutations, seed)
    differences = (_mean(of) - _mean(against))[:, 0]
    # Sums of thirds differ in their last bits: equal magnitudes must count as equal.
    sizes, counts = np.unique(np.round(np.abs(differences), 9), return_counts=True)
    sizes, counts = sizes[sizes > 0], counts[sizes > 0]
    if sizes.size == 0:
        return 1.0
    if sizes.size == 1 and len(of) == len(against) == 1:
        won = int((differences > 0).sum())
        return float(binomtest(won, int(counts.sum())).pvalue)
    rng = generator(seed, "permutation")
    observed = abs(differences.sum())
    chunk = max(1, _CHUNK_COUNTS // counts.size)
    reached = 0
    for start in range(0, num_permutations, chunk):
        flips = min(chunk, num_permutations - start)
        positive = rng.binomial(counts, 0.5, size=(flips, counts.size))
        reached += int((np.abs((2 * positive - counts) @ sizes) >= observed - 1e-6).sum())
    return (1 + reached) / (num_permutations + 1)


def _swapped(
    first_NK: FloatArray,
    second_NK: FloatArray,
    measure: Measure,
    num_permutations: int,
    seed: int,
) -> float:
    differences = second_NK - first_NK
    differing = np.flatnonzero(np.abs(differences).max(axis=1) > 1e-9)
    if differing.size == 0:
        return 1.0
    totals_first, totals_second = first_NK.sum(axis=0), second_NK.sum(axis=0)
    observed = abs(float(measure.score(totals_first) - measure.score(totals_second)))
    rng = generator(seed, "permutation")
    chunk = max(1, _CHUNK_COUNTS // differing.size)
    reached = 0
    for start in range(0, num_permutations, chunk):
        flips = min(chunk, num_permutations - start)
        swapped = rng.integers(0, 2, (flips, differing.size)).astype(np.float64)
        moved = swapped @ differences[differing]
        found = measure.score(totals_first + moved) - measure.score(totals_second - moved)
        reached += int((np.abs(found) >= observed - 1e-12).sum())
    return (1 + reached) / (num_permutations + 1)


def _mean(runs: Sequence[Statistics]) -> FloatArray:
    """Statistics (N, K) averaged over seeds, dense."""
    return np.mean([one.toarray() for one in runs], axis=0)
