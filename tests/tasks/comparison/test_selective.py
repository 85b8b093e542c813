"""The surest answers: counted again one by one."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.comparison.selective import selective_curves
from tasks.metrics.class_answers import MEASURES, class_answers

N = 37
RNG = np.random.default_rng(1)
LABELS = RNG.integers(0, 3, N)
IDS = tuple(f"zh{i}" for i in range(N))


def answers_of(*, seeds=1, sure=True, ids=IDS):
    """Random decisions with random confidences."""
    decided = RNG.integers(0, 3, (seeds, N))
    confidences = RNG.random((seeds, N)).round(1)
    answers = class_answers(ids, LABELS, decided, confidences, num_classes=3)
    return answers if sure else replace(answers, confidences=None)


def test_each_point_is_the_score_of_the_surest_share():
    """A curve off by one answer promises an assistant a quality that it does not have."""
    systems = {"student": answers_of(seeds=2), "supervised": answers_of()}
    [curve] = selective_curves(systems, MEASURES[0])
    assert [*curve.points] == ["student", "supervised"]
    for name, answers in systems.items():
        for number, (share, score) in enumerate(curve.points[name], start=1):
            assert share == pytest.approx(number / 20)
            taken = round(N * number / 20)
            expected = []
            for decided, sure in zip(answers.predictions, answers.confidences, strict=True):
                # Equally sure ones in the order of the test set.
                surest = sorted(range(N), key=lambda i, sure=sure: (-sure[i], i))[:taken]
                expected.append(np.mean([decided[i] == LABELS[i] for i in surest]))
            assert score == pytest.approx(np.mean(expected))
    assert curve.points["student"][-1][1] == pytest.approx(
        np.mean([one == LABELS for one in systems["student"].predictions])
    )


def test_systems_without_confidences_or_of_other_texts_have_no_line():
    """A line of English answers beside Chinese ones looks like a comparison."""
    systems = {
        "student": answers_of(),
        "teacher": answers_of(ids=tuple(f"en{i}" for i in range(N))),
        "majority": answers_of(sure=False),
    }
    [curve] = selective_curves(systems, MEASURES[0])
    assert [*curve.points] == ["student"]


def test_a_student_without_confidences_has_no_curve():
    """An empty plot looks like a system that is never sure."""
    assert selective_curves({"student": answers_of(sure=False)}, MEASURES[0]) == ()
