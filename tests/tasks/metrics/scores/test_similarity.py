"""Correlations against scipy."""

import numpy as np
import pytest
from scipy import stats

from tasks.metrics.intervals import resample_scores
from tasks.metrics.scores.similarity import MEASURES, PEARSON, correlation_of, similarity_statistics
from tasks.metrics.statistics import scores_of


def test_correlations_are_those_of_scipy():
    """Ties among graded labels need mean ranks."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 200).astype(float)
    scores = 0.01 * labels + rng.normal(size=200) * 0.02 + 1000
    found = scores_of(similarity_statistics(scores, labels), MEASURES)
    assert found["pearson"] == pytest.approx(stats.pearsonr(scores, labels).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(scores, labels).statistic)


def test_scores_that_do_not_vary_follow_nothing():
    """0 / 0 in one resample spoils the whole interval."""
    found = scores_of(similarity_statistics(np.full(9, 3.0), np.arange(9.0)), MEASURES)
    assert found == {"spearman": 0.0, "pearson": 0.0}


def test_resamples_of_pearson_match_a_naive_loop():
    """Six sums in place of two columns must be the same correlation."""
    rng = np.random.default_rng(1)
    labels = rng.normal(size=60)
    scores = labels + rng.normal(size=60)
    statistics = similarity_statistics(scores, labels)["pearson"]
    [found] = resample_scores([[statistics]], score=PEARSON.score, num_resamples=3000)
    naive = []
    for _ in range(3000):
        drawn = rng.integers(0, 60, 60)
        naive.append(np.corrcoef(scores[drawn], labels[drawn])[0, 1])
    assert found.resamples.std() == pytest.approx(np.std(naive), rel=0.08)
    times = np.bincount(drawn, minlength=60)
    assert correlation_of(statistics.T @ times) == pytest.approx(naive[-1])
