"""Intervals against naive resampling of examples, scipy and exact tests."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from tasks.metrics.class_answers import ACCURACY, MACRO_F1, class_statistics
from tasks.metrics.intervals import (
    difference_interval,
    distinct_patterns,
    paired_p_value,
    ratio_interval,
    resample_scores,
)
from tasks.metrics.scores.answer_texts import ANSWER_F1
from tasks.metrics.scores.retrieval import ACCURACY_AT_1
from tasks.metrics.scores.rouge import MEASURES as ROUGE
from tasks.metrics.statistics import Measure, f1_of, mean_of, rows, values
from tasks.runtime.seeding import generator

NUM_CLASSES = 5


def answers(seed, accuracy, labels, num_seeds=1):
    rng = np.random.default_rng(seed)
    guesses = rng.integers(0, NUM_CLASSES, (num_seeds, labels.size))
    return np.where(rng.random((num_seeds, labels.size)) < accuracy, labels, guesses)


def resampled(labels, systems, *, metric, **options):
    """`resample_scores` of class decisions."""
    measure = {"accuracy": ACCURACY, "macro_f1": MACRO_F1}[metric]
    statistics = [[statistics_of(labels, one, metric) for one in runs] for runs in systems]
    return resample_scores(statistics, score=measure.score, **options)


def statistics_of(labels, decided, metric):
    if metric == "accuracy":
        return values(labels == decided)
    return class_statistics(labels, decided, num_classes=NUM_CLASSES)


def p_value(labels, of, against):
    first, second = ([values(labels == one) for one in runs] for runs in (of, against))
    return paired_p_value(first, second, ACCURACY)


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
    found = resampled(labels, systems, metric=metric, num_resamples=20, seed=4)
    # Each example stands for its pattern: which one of its kind is drawn makes no difference.
    statistics = [statistics_of(labels, one, metric) for runs in systems for one in runs]
    stacked = np.hstack([one.toarray() for one in statistics])
    patterns, counts = distinct_patterns(statistics)
    kinds = np.hstack([one.toarray() for one in patterns])
    members = [np.flatnonzero((stacked == kind).all(axis=1)) for kind in kinds]
    assert [len(one) for one in members] == counts.tolist()
    drawn = generator(4, "bootstrap", "paired").multinomial(
        labels.size, counts / labels.size, size=20
    )
    for system, score in zip(systems, found, strict=True):
        assert score.estimate == pytest.approx(naive_score(labels, system, metric))
        for times, value in zip(drawn, score.resamples, strict=True):
            examples = np.concatenate(
                [np.resize(one, count) for one, count in zip(members, times, strict=True)]
            )
            assert examples.size == labels.size
            expected = naive_score(labels[examples], system[:, examples], metric)
            assert value == pytest.approx(expected, abs=1e-12)


def test_no_pattern_is_lost_whatever_the_numbers(labels):
    """Two examples taken for one change every interval of the report."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 6))[rng.integers(0, 40, 300)]
    [kinds], counts = distinct_patterns([rows(table)])
    expected, times = np.unique(table, axis=0, return_counts=True)
    order = np.lexsort(kinds.toarray().T[::-1])
    assert kinds.toarray()[order].tolist() == expected.tolist()
    assert counts[order].tolist() == times.tolist()


def test_paired_interval_agrees_with_scipy(labels):
    """Our percentile interval of a paired accuracy difference is the textbook one."""
    one, two = answers(1, 0.85, labels), answers(2, 0.7, labels)
    scores = resampled(labels, [one, two], metric="accuracy", num_resamples=20_000)
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
    options = {"metric": "accuracy"}
    paired = difference_interval(*resampled(labels, [one, two], **options))
    [first] = resampled(labels, [one], stream="first", **options)
    [second] = resampled(labels, [two], stream="second", **options)
    independent = difference_interval(first, second)
    assert paired.estimate == pytest.approx(independent.estimate)
    assert paired.high - paired.low < 0.5 * (independent.high - independent.low)
    deviation = np.sqrt(first.resamples.var() + second.resamples.var())
    assert (first.resamples - second.resamples).std() == pytest.approx(deviation, rel=0.1)


def test_a_system_against_itself_differs_by_exactly_nothing(labels):
    """An interval around zero here would be a bug in the pairing."""
    one = answers(1, 0.8, labels)
    found = difference_interval(*resampled(labels, [one, one], metric="macro_f1"))
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)


def test_resamples_do_not_depend_on_chunks(labels, monkeypatch):
    """A larger test set is drawn in chunks: the interval must not jump at the boundary."""
    one = answers(1, 0.8, labels)
    options = {"metric": "accuracy", "num_resamples": 50}
    [whole] = resampled(labels, [one], **options)
    monkeypatch.setattr("tasks.metrics.intervals._CHUNK_COUNTS", 40)
    [pieces] = resampled(labels, [one], **options)
    assert whole.resamples.tolist() == pieces.resamples.tolist()


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """A 90 % interval that covers half the time would pass bad students."""
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = np.zeros(120, dtype=int)
        one = (rng.random((1, 120)) > 0.8).astype(int)
        two = (rng.random((1, 120)) > 0.7).astype(int)
        scores = resampled(labels, [one, two], metric="accuracy", num_resamples=400)
        found = difference_interval(*scores, confidence=0.9)
        covered += found.low <= 0.1 <= found.high
    assert 0.83 <= covered / 200 <= 0.96


def test_retention_is_a_ratio_and_refuses_a_reference_of_zero(labels):
    """A teacher that is always wrong would make every student infinitely good."""
    good, bad = answers(1, 0.9, labels), answers(2, 0.45, labels)
    options = {"metric": "accuracy"}
    [first] = resampled(labels, [good], stream="first", **options)
    [second] = resampled(labels, [bad], stream="second", **options)
    found = ratio_interval(second, first)
    assert found.estimate == pytest.approx((bad == labels).mean() / (good == labels).mean())
    assert found.low < found.estimate < found.high < 1
    [wrong] = resampled(labels, [(labels[None] + 1) % NUM_CLASSES], **options)
    with pytest.raises(ValueError, match="above zero"):
        ratio_interval(first, wrong)


def test_single_seed_p_value_is_exact_mcnemar():
    """8 against 2 discordant examples: 2 * P(X <= 2 | 10, 1/2) = 112/1024 by hand."""
    labels = np.zeros(30, dtype=int)
    one, two = np.zeros((1, 30), int), np.zeros((1, 30), int)
    two[0, :8] = 1
    one[0, 8:10] = 1
    assert p_value(labels, one, two) == pytest.approx(112 / 1024)
    assert p_value(labels, one, one) == 1.0


@pytest.mark.parametrize(
    "measure", [ANSWER_F1, ROUGE[0], ACCURACY_AT_1], ids=lambda measure: measure.name
)
def test_every_figure_that_is_a_mean_has_the_exact_test(measure):
    """Random swaps where all of them are known: a p-value that changes with the seed."""
    one, two = np.ones(30), np.ones(30)
    two[:8] = one[8:10] = 0
    found = paired_p_value([values(one)], [values(two)], measure)
    assert found == pytest.approx(112 / 1024)


def test_permutation_p_value_with_seeds_matches_a_naive_permutation():
    """Sign flips drawn by groups of equal size must equal flips drawn example by example."""
    labels = np.zeros(40, dtype=int)
    one, two = answers(1, 0.75, labels, 3), answers(2, 0.6, labels, 3)
    difference = (one == 0).mean(0) - (two == 0).mean(0)
    flips = np.random.default_rng(0).choice([-1, 1], (20_000, 40))
    expected = np.mean(np.abs(flips @ difference) >= abs(difference.sum()) - 1e-9)
    # Standard error of both estimates together is below 0.006.
    assert p_value(labels, one, two) == pytest.approx(expected, abs=0.02)


def test_p_values_do_not_depend_on_chunks(monkeypatch):
    """Ten thousand flips of fifty thousand distinct differences do not fit a memory at once."""
    labels = np.zeros(40, dtype=int)
    one, two = answers(1, 0.75, labels, 3), answers(2, 0.6, labels, 3)
    whole = p_value(labels, one, two)
    monkeypatch.setattr("tasks.metrics.intervals._CHUNK_COUNTS", 700)
    assert p_value(labels, one, two) == whole


def test_p_value_of_f1_matches_a_naive_swap_of_answers():
    """The permutation test of a mean is wrong for a quotient of sums such as entity F1."""
    rng = np.random.default_rng(3)
    gold = rng.integers(1, 4, 60)
    one, two = (
        np.stack([rng.binomial(gold, share), rng.integers(1, 4, 60), gold], axis=1).astype(float)
        for share in (0.7, 0.5)
    )
    found = paired_p_value([rows(one)], [rows(two)], Measure(ACCURACY.metric, f1_of))
    observed = abs(f1_of(one.sum(0)) - f1_of(two.sum(0)))
    reached = 0
    for _ in range(4000):
        swap = rng.integers(0, 2, (60, 1)).astype(bool)
        first, second = np.where(swap, two, one), np.where(swap, one, two)
        reached += abs(f1_of(first.sum(0)) - f1_of(second.sum(0))) >= observed - 1e-12
    # Standard error of both estimates together is below 0.01.
    assert found == pytest.approx(reached / 4000, abs=0.03)
    assert 0.0 < found < 0.5


def test_bootstrap_of_a_quotient_matches_a_naive_loop():
    """Mean of quotients and quotient of sums differ: an F1 is the second."""
    rng = np.random.default_rng(5)
    table = rng.integers(0, 4, (80, 3)).astype(float)
    [score] = resample_scores([[rows(table)]], score=f1_of, num_resamples=4000)
    naive = [f1_of(table[rng.integers(0, 80, 80)].sum(0)) for _ in range(4000)]
    assert score.estimate == pytest.approx(2 * table[:, 0].sum() / table[:, 1:].sum())
    assert score.resamples.mean() == pytest.approx(np.mean(naive), abs=0.005)
    assert score.resamples.std() == pytest.approx(np.std(naive), rel=0.06)
    for share in (0.025, 0.975):
        low, expected = np.quantile(score.resamples, share), np.quantile(naive, share)
        assert low == pytest.approx(expected, abs=0.012)


def test_systems_on_test_sets_of_different_size_are_refused():
    """Silently cutting the longer one pairs unrelated examples."""
    with pytest.raises(ValueError, match=r"\[3, 4\] examples"):
        resample_scores([[values([1, 0, 1])], [values([1, 0, 1, 1])]], score=mean_of)
