"""Intervals against naive resampling of examples, scipy and exact tests."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from tasks.metrics.intervals import (
    difference_interval,
    paired_p_value,
    ratio_interval,
    resample_scores,
)
from tasks.runtime.seeding import generator

NUM_CLASSES = 5


def answers(seed, accuracy, labels, num_seeds=1):
    rng = np.random.default_rng(seed)
    guesses = rng.integers(0, NUM_CLASSES, (num_seeds, labels.size))
    return np.where(rng.random((num_seeds, labels.size)) < accuracy, labels, guesses)


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(7).integers(0, NUM_CLASSES, 150)


def naive_score(labels, decisions, metric):
    """Mean over seeds, by scikit-learn, over the classes that occur."""
    if metric == "accuracy":
        return np.mean([np.mean(labels == one) for one in decisions])
    present = np.unique(labels)
    scores = [f1_score(labels, one, labels=present, average="macro") for one in decisions]
    return np.mean(scores)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_every_resample_scores_like_scikit_learn_on_the_drawn_examples(labels, metric):
    """Drawing counts of patterns must be the very same thing as drawing examples."""
    systems = [answers(1, 0.8, labels, 3), answers(2, 0.7, labels, 2)]
    found = resample_scores(
        labels, systems, metric=metric, num_classes=NUM_CLASSES, num_resamples=20, seed=4
    )
    stacked = np.vstack([labels[None], *systems])
    patterns, counts = np.unique(stacked, axis=1, return_counts=True)
    drawn = generator(4, "bootstrap", "paired").multinomial(
        labels.size, counts / labels.size, size=20
    )
    for system, rows, score in zip(systems, ((1, 4), (4, 6)), found, strict=True):
        assert score.estimate == pytest.approx(naive_score(labels, system, metric))
        for times, value in zip(drawn, score.resamples, strict=True):
            examples = np.repeat(patterns, times, axis=1)
            assert examples.shape[1] == labels.size
            expected = naive_score(examples[0], examples[rows[0] : rows[1]], metric)
            assert value == pytest.approx(expected, abs=1e-12)


def test_paired_interval_agrees_with_scipy(labels):
    """Our percentile interval of a paired accuracy difference is the textbook one."""
    one, two = answers(1, 0.85, labels), answers(2, 0.7, labels)
    scores = resample_scores(
        labels, [one, two], metric="accuracy", num_classes=NUM_CLASSES, num_resamples=20_000
    )
    found = difference_interval(*scores)
    difference = (one[0] == labels).astype(float) - (two[0] == labels)
    expected = stats.bootstrap(
        (difference,), np.mean, method="percentile", n_resamples=20_000, rng=0
    ).confidence_interval
    # 1/150 is the step of the statistic; Monte Carlo noise of a 2.5 % quantile is about half of it.
    assert found.low == pytest.approx(expected.low, abs=1.01 / labels.size)
    assert found.high == pytest.approx(expected.high, abs=1.01 / labels.size)


def test_pairing_narrows_and_independence_widens(labels):
    """Two nearly equal systems on one test set differ far less than two test sets do."""
    one = answers(1, 0.8, labels)
    two = one.copy()
    two[0, :3] = (two[0, :3] + 1) % NUM_CLASSES
    options = {"metric": "accuracy", "num_classes": NUM_CLASSES}
    paired = difference_interval(*resample_scores(labels, [one, two], **options))
    [first] = resample_scores(labels, [one], stream="first", **options)
    [second] = resample_scores(labels, [two], stream="second", **options)
    independent = difference_interval(first, second)
    assert paired.estimate == pytest.approx(independent.estimate)
    assert paired.high - paired.low < 0.5 * (independent.high - independent.low)
    deviation = np.sqrt(first.resamples.var() + second.resamples.var())
    assert (first.resamples - second.resamples).std() == pytest.approx(deviation, rel=0.1)


def test_a_system_against_itself_differs_by_exactly_nothing(labels):
    """An interval around zero here would be a bug in the pairing."""
    one = answers(1, 0.8, labels)
    found = difference_interval(
        *resample_scores(labels, [one, one], metric="macro_f1", num_classes=NUM_CLASSES)
    )
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)


def test_resamples_do_not_depend_on_chunks(labels, monkeypatch):
    """A larger test set is drawn in chunks: the interval must not jump at the boundary."""
    one = answers(1, 0.8, labels)
    options = {"metric": "accuracy", "num_classes": NUM_CLASSES, "num_resamples": 50}
    [whole] = resample_scores(labels, [one], **options)
    monkeypatch.setattr("tasks.metrics.intervals._CHUNK_COUNTS", 40)
    [pieces] = resample_scores(labels, [one], **options)
    assert whole.resamples.tolist() == pieces.resamples.tolist()


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """A 90 % interval that covers half the time would pass bad students."""
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = np.zeros(120, dtype=int)
        one = (rng.random((1, 120)) > 0.8).astype(int)
        two = (rng.random((1, 120)) > 0.7).astype(int)
        scores = resample_scores(
            labels, [one, two], metric="accuracy", num_classes=2, num_resamples=400
        )
        found = difference_interval(*scores, confidence=0.9)
        covered += found.low <= 0.1 <= found.high
    assert 0.83 <= covered / 200 <= 0.96


def test_retention_is_a_ratio_and_refuses_a_reference_of_zero(labels):
    """A teacher that is always wrong would make every student infinitely good."""
    good, bad = answers(1, 0.9, labels), answers(2, 0.45, labels)
    options = {"metric": "accuracy", "num_classes": NUM_CLASSES}
    [first] = resample_scores(labels, [good], stream="first", **options)
    [second] = resample_scores(labels, [bad], stream="second", **options)
    found = ratio_interval(second, first)
    assert found.estimate == pytest.approx((bad == labels).mean() / (good == labels).mean())
    assert found.low < found.estimate < found.high < 1
    [wrong] = resample_scores(labels, [(labels[None] + 1) % NUM_CLASSES], **options)
    with pytest.raises(ValueError, match="above zero"):
        ratio_interval(first, wrong)


def test_single_seed_p_value_is_exact_mcnemar():
    """8 against 2 discordant examples: 2 * P(X <= 2 | 10, 1/2) = 112/1024 by hand."""
    labels = np.zeros(30, dtype=int)
    one, two = np.zeros((1, 30), int), np.zeros((1, 30), int)
    two[0, :8] = 1
    one[0, 8:10] = 1
    assert paired_p_value(labels, one, two) == pytest.approx(112 / 1024)
    assert paired_p_value(labels, one, one) == 1.0


def test_permutation_p_value_with_seeds_matches_a_naive_permutation():
    """Sign flips drawn by groups of equal size must equal flips drawn example by example."""
    labels = np.zeros(40, dtype=int)
    one, two = answers(1, 0.75, labels, 3), answers(2, 0.6, labels, 3)
    difference = (one == 0).mean(0) - (two == 0).mean(0)
    flips = np.random.default_rng(0).choice([-1, 1], (20_000, 40))
    expected = np.mean(np.abs(flips @ difference) >= abs(difference.sum()) - 1e-9)
    # Standard error of both estimates together is below 0.006.
    assert paired_p_value(labels, one, two) == pytest.approx(expected, abs=0.02)
