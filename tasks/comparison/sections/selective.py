"""If only the answers that a system is surest of are given, how good are they?

An assistant that hands unsure requests to people is run at some share of answered ones. A system
whose confidence tells right from wrong rises to the left (risk and coverage: El-Yaniv & Wiener
2010, JMLR 11).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_contracts.evaluation import Curve
from tasks.metrics.scores.classification import FloatArray
from tasks.metrics.statistics import Measure, totals
from tasks.metrics.systems import Answers, on_same_examples

_NUM_POINTS = 20


def selective_curves(answers: Mapping[str, Answers], measure: Measure) -> tuple[Curve, ...]:
    """The score of the surest answers against their share, of all systems that are surer of some.

    Args:
        answers: of all systems; those on other examples than the student's are left out.
        measure: the score; seeds are averaged point by point.

    Returns: one curve; none if the student is not among them.
    """
    points = {
        name: _points(one.confidences, one, measure)
        for name, one in on_same_examples(answers).items()
        if one.confidences is not None and (np.ptp(one.confidences, axis=1) > 0).all()
    }
    if "student" not in points:
        return ()
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


def _points(seeds: FloatArray, one: Answers, measure: Measure) -> tuple[tuple[float, float], ...]:
    """Share and score of up to 20 steps; of equally sure answers those that a draw puts first.

    Test sets lie in the order of their sources and domains: one of them would come first.

    Args:
        seeds: confidences (S, N).
    """
    number = min(_NUM_POINTS, one.num_examples)
    taken = np.round(np.arange(1, number + 1) / number * one.num_examples).astype(int)
    shares = taken / one.num_examples
    drawn = np.random.default_rng(0).permutation(one.num_examples)
    scores = []
    for confidences, statistics in zip(seeds, one.of(measure.name), strict=True):
        order = drawn[np.argsort(-confidences[drawn], kind="stable")]
        scores.append(measure.score(np.stack([totals(statistics[order[:n]]) for n in taken])))
    return tuple(zip(shares.tolist(), np.mean(scores, axis=0).tolist(), strict=True))
