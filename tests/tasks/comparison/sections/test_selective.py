"""The surest answers: counted again one by one."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.comparison.sections.selective import selective_curves
from tasks.metrics.class_answers import MEASURES, class_answers

N = 37
RNG = np.random.default_rng(1)
LABELS = RNG.integers(0, 3, N)
IDS = tuple(f"zh{i}" for i in range(N))


def answers_of(*, seeds=1, sure=True, ids=IDS):
    """Random decisions with random confidences."""
    decided = RNG.integers(0, 3, (seeds, N))
    confidences = RNG.random((seeds, N))
    answers = class_answers(ids, LABELS, decided, confidences, num_classes=3)
    return answers if sure else replace(answers, confidences=None)


def test_each_point_is_the_score_of_the_surest_share():
    """A curve off by one answer promises an assistant a quality that it does not have."""
    systems = {"student": answers_of(seeds=2), "supervised": answers_of()}
    [curve] = selective_curves(systems, MEASURES[0])
    assert [*curve.points] == ["student", "supervised"]
    for name, answers in systems.items():
        for number, (share, score) in enumerate(curve.points[name], start=1):
            taken = round(N * number / 20)
            assert share == pytest.approx(taken / N)
            expected = []
            for decided, sure in zip(answers.predictions, answers.confidences, strict=True):
                surest = sorted(range(N), key=lambda i, sure=sure: -sure[i])[:taken]
                expected.append(np.mean([decided[i] == LABELS[i] for i in surest]))
            assert score == pytest.approx(np.mean(expected))
    assert curve.points["student"][-1][1] == pytest.approx(
        np.mean([one == LABELS for one in systems["student"].predictions])
    )


def test_equally_sure_answers_are_not_taken_in_the_order_of_the_test_set():
    """Test sets lie sorted by domain: the first fifth of equally sure answers would be hotels."""
    labels = np.zeros(200, dtype=np.int64)
    decided = np.repeat([0, 1], 100)[None]  # the first hundred are right, the others wrong
    sure = np.full((1, 200), 1.0)
    sure[0, -1] = 0.9
    ids = tuple(f"zh{i}" for i in range(200))
    answers = class_answers(ids, labels, decided, sure, num_classes=2)
    [curve] = selective_curves({"student": answers}, MEASURES[0])
    half = dict(curve.points["student"])[0.5]
    assert 0.35 < half < 0.65


def test_few_answers_have_as_many_points():
    """A share of less than one answer has no score."""
    few = class_answers(IDS[:3], LABELS[:3], LABELS[None, :3], RNG.random((1, 3)), num_classes=3)
    [curve] = selective_curves({"student": few}, MEASURES[0])
    assert [share for share, _ in curve.points["student"]] == pytest.approx([1 / 3, 2 / 3, 1])
    assert [score for _, score in curve.points["student"]] == [1, 1, 1]


def test_systems_never_surer_or_of_other_texts_have_no_line():
    """A line of English answers beside Chinese ones looks like a comparison."""
    constant = answers_of(seeds=2)
    systems = {
        "student": answers_of(),
        "teacher": answers_of(ids=tuple(f"en{i}" for i in range(N))),
        "gazetteer": answers_of(sure=False),
        "majority": replace(constant, confidences=np.repeat([[0.4], [0.5]], N, axis=1)),
    }
    [curve] = selective_curves(systems, MEASURES[0])
    assert [*curve.points] == ["student"]


def test_a_student_without_confidences_has_no_curve():
    """An empty plot looks like a system that is never sure."""
    assert selective_curves({"student": answers_of(sure=False)}, MEASURES[0]) == ()
