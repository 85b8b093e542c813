"""Records of the report from answers."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.metrics.class_answers import MEASURES, class_answers
from tasks.metrics.systems import (
    Resampling,
    compare,
    group_scores,
    mean_and_spread,
    retain,
    scores_by_seed,
)

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])


def answers(*decisions, ids=None, confidence=0.9):
    predictions = np.array(decisions)
    sure = np.full(predictions.shape, confidence)
    return class_answers(ids or tuple("abcdefgh"), LABELS, predictions, sure, num_classes=3)


STUDENT = answers([0, 0, 1, 1, 1, 2, 2, 0], [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 1, 2, 2, 0])
BASELINE = answers([0, 0, 1, 1, 0, 2, 0, 0])


def test_mean_and_spread_over_seeds_by_hand():
    """ddof = 0 understates the spread of three seeds by a fifth."""
    seeds = scores_by_seed(STUDENT, MEASURES)
    accuracies = [6 / 8, 1.0, 5 / 8]
    assert [one["accuracy"] for one in seeds] == pytest.approx(accuracies)
    mean, sd = mean_and_spread(seeds)
    assert mean["accuracy"] == pytest.approx(sum(accuracies) / 3)
    by_hand = sum((a - sum(accuracies) / 3) ** 2 for a in accuracies) / 2
    assert sd["accuracy"] == pytest.approx(by_hand**0.5)
    assert [one["ece"] for one in seeds] == pytest.approx([abs(a - 0.9) for a in accuracies])


def test_one_seed_has_no_spread():
    """`± 0.0` would claim a certainty that one run does not have."""
    assert mean_and_spread(scores_by_seed(BASELINE, MEASURES))[1] is None


def test_same_examples_are_paired_and_others_are_not():
    """Pairing two different test sets by position compares unrelated examples."""
    elsewhere = answers(BASELINE.predictions[0], ids=tuple("ijklmnop"))
    found = {"student": STUDENT, "same": BASELINE, "other": elsewhere}
    resampling = Resampling(num_resamples=200)
    same = compare(found, "student", "same", MEASURES, resampling)
    other = compare(found, "student", "other", MEASURES, resampling)
    assert [one.metric for one in same] == ["accuracy", "macro_f1"]
    assert all(one.paired for one in same)
    assert not any(one.paired for one in other)
    assert same[0].name == "student_minus_same"
    expected = (6 / 8 + 1 + 5 / 8) / 3 - 4 / 8
    assert same[0].difference == other[0].difference == pytest.approx(expected)
    assert same[0].p_value is not None
    assert other[0].p_value is None
    assert same[0].high - same[0].low < other[0].high - other[0].low


def test_two_test_sets_are_resampled_apart():
    """The same draws of both: a difference as certain as if every example had met its twin."""
    found = {"student": BASELINE, "twin": replace(BASELINE, example_ids=tuple("ijklmnop"))}
    resampling = Resampling(num_resamples=200)
    apart = compare(found, "student", "twin", MEASURES, resampling)
    itself = compare({**found, "twin": BASELINE}, "student", "twin", MEASURES, resampling)
    assert [(one.low, one.high) for one in itself] == [(0, 0), (0, 0)]
    assert all(one.low < -0.2 and one.high > 0.2 for one in apart)


def test_intervals_are_those_that_were_asked_for():
    """A recipe's confidence or seed that changes nothing, and says nothing of it."""
    found = {"student": STUDENT, "other": BASELINE}

    def asked(**settings):
        resampling = Resampling(num_resamples=200, **settings)
        [one, two] = compare(found, "student", "other", MEASURES, resampling)
        assert (one.p_value is None, two.p_value is None) == (False, True)  # of the first alone
        kept = retain(STUDENT, BASELINE, MEASURES, resampling, against="teacher_on_target")
        assert {part.against for part in kept} == {"teacher_on_target"}
        return one, kept[0]

    for usual, narrow, drawn in zip(asked(), asked(confidence=0.5), asked(seed=1), strict=True):
        assert (usual.confidence, narrow.confidence) == (0.95, 0.5)
        assert narrow.high - narrow.low < 0.6 * (usual.high - usual.low)
        assert (usual.low, usual.high) != (drawn.low, drawn.high)
    assert asked()[0].p_value != asked(seed=1)[0].p_value


def test_examples_of_another_kind_do_not_unpair_a_metric():
    """Pairs both answered, compared as if they were different ones: sentences with scores of their
    own language lay behind them, and widened every interval of the search."""

    def followed(found, scored):
        rows = [0, 1, 2, 3, 4, 5, 6, 7, *range(len(scored))]
        return replace(
            found,
            example_ids=(*found.example_ids, *scored),
            labels=np.append(found.labels, np.zeros(len(scored), int)),
            predictions=[np.append(run, [0] * len(scored)) for run in found.predictions],
            statistics=tuple({k: v[rows] for k, v in one.items()} for one in found.statistics),
            confidences=None,
            asked={"accuracy": slice(0, 8)},
        )

    mixed = {"student": followed(STUDENT, "xyz"), "same": followed(BASELINE, "uv")}
    alone = {"student": STUDENT, "same": BASELINE}
    resampling = Resampling(num_resamples=200)
    found, expected = (
        compare(answered, "student", "same", MEASURES, resampling) for answered in (mixed, alone)
    )
    assert found[0] == expected[0]
    assert not found[1].paired  # a metric of all examples is of different ones
    kept = retain(mixed["student"], mixed["same"], MEASURES, resampling)
    assert kept[0] == retain(STUDENT, BASELINE, MEASURES, resampling)[0]


def test_retention_is_left_out_where_the_teacher_scores_nothing():
    """Infinity is not JSON, and not a retention."""
    wrong = answers((LABELS + 1) % 3, ids=tuple("ijklmnop"))
    assert retain(STUDENT, wrong, MEASURES, Resampling(num_resamples=100)) == ()


def test_a_group_is_scored_on_its_own_examples():
    """A domain of two reviews must not borrow the others' score."""
    parts = ["book", None, "hotel", "book", "hotel", "hotel", None, "book"]
    found = group_scores({"student": STUDENT}, parts, MEASURES, column="domain")
    assert [(one.value, one.num_examples) for one in found] == [("book", 3), ("hotel", 3)]
    rows = {"book": [0, 3, 7], "hotel": [2, 4, 5]}
    for one in found:
        chosen = rows[one.value]
        expected = np.mean([np.mean(run[chosen] == LABELS[chosen]) for run in STUDENT.predictions])
        assert one.scores["student"]["accuracy"] == pytest.approx(expected)
