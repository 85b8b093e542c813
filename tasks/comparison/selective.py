"""If only the answers that a system is surest of are given, how good are they?

An assistant that hands unsure requests to people is run at some share of answered ones. A system
whose confidence tells right from wrong rises to the left (risk and coverage: El-Yaniv & Wiener
2010, JMLR 11).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_contracts.evaluation import Curve
from tasks.metrics.statistics import Measure
from tasks.metrics.systems import Answers

_NUM_POINTS = 20


def selective_curves(answers: Mapping[str, Answers], measure: Measure) -> tuple[Curve, ...]:
    """The score of the surest answers against their share, of all systems with confidences.

    Args:
        answers: of all systems; those on other examples than the student's are left out.
        measure: the score; seeds are averaged point by point.

    Returns: one curve, none if the student has no confidences or too few answers for the points.
    """
    student = answers["student"]
    if student.confidences is None or student.num_examples < _NUM_POINTS:
        return ()
    points = {
        name: _points(one, measure)
        for name, one in answers.items()
        if one.confidences is not None and one.example_ids == student.example_ids
    }
    return (
        Curve(
            name="surest_answers",
            title="Surest answers",
            caption="Score of the answers that each system is surest of, against their share of "
            "all; at 100 % it is the score of the tables.",
            x="answers given, surest first",
            x_is_share=True,
            y=f"test {measure.metric.display} of these",
            points=points,
        ),
    )


def _points(one: Answers, measure: Measure) -> tuple[tuple[float, float], ...]:
    shares = np.arange(1, _NUM_POINTS + 1) / _NUM_POINTS
    taken = np.round(shares * one.num_examples).astype(int)
    assert one.confidences is not None
    scores = []
    for confidences, statistics in zip(one.confidences, one.of(measure.name), strict=True):
        order = np.argsort(-confidences, kind="stable")
        sums = [np.asarray(statistics[order[:number]].sum(axis=0)) for number in taken]
        scores.append(measure.score(np.stack(sums)))
    return tuple(zip(shares.tolist(), np.mean(scores, axis=0).tolist(), strict=True))
