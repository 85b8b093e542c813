"""From start and end logits of a context's units to an answer, or to none.

    best span   largest start + end with start <= end, at most `max_units` units long
    none        wins if the no-answer slot lies more than a threshold above the best span

The threshold is tuned on validation rows only: it decides how often a model refuses to answer, and
tuned on test rows it would report a skill that nobody can have beforehand.

Reference: Devlin et al. 2019, arXiv:1810.04805, section 4.3.
Shapes: U units of one context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tasks.metrics.scores.classification import FloatArray

MAX_ANSWER_UNITS = 30
"""Units of an answer at most where a recipe says nothing, as in SQuAD's own baselines: longer ones
are sentences."""


def longest_answer(facts: Mapping[str, Any]) -> int:
    """Units of an answer at most, of a tokens.json, thresholds.json or serving.json."""
    return int(facts.get("max_answer_units", MAX_ANSWER_UNITS))


@dataclass(frozen=True)
class SpanChoice:
    """The best span of a context, and how far the no-answer slot lies above it.

    Args:
        first, last: units, inclusive.
        margin: none minus best, in logits; +inf for a context without units.
        confidence: probability of the span among all spans allowed and none.
    """

    first: int
    last: int
    margin: float
    confidence: float

    def decided(self, null_threshold: float) -> tuple[int, int] | None:
        """First and last unit, or None where "no answer" is ahead by more than the threshold."""
        return None if self.margin > null_threshold else (self.first, self.last)

    def certainty(self, null_threshold: float) -> float:
        """Probability of what is decided: of the span, or of none."""
        if self.margin <= null_threshold:
            return self.confidence
        if not self.confidence:  # nothing to choose from, or too unlikely for a float
            return 1.0
        return float(np.exp(min(0.0, self.margin + np.log(self.confidence))))


def choose_span(
    start_logits_U: FloatArray,
    end_logits_U: FloatArray,
    *,
    null_logit: float,
    max_units: int,
) -> SpanChoice:
    """The best span; of equal ones the shorter, then the earlier.

    Args:
        start_logits_U, end_logits_U: (U,).
        null_logit: start and end logit of the no-answer slot, added up.
        max_units: units of a span at most.
    """
    num_units = len(start_logits_U)
    start, end = (np.asarray(one, dtype=np.float64) for one in (start_logits_U, end_logits_U))
    if num_units == 0:
        return SpanChoice(0, -1, float("inf"), 0.0)
    best, chosen = -np.inf, (0, 0)
    by_length: list[float] = [null_logit]
    for length in range(min(max_units, num_units)):
        sums = start[: num_units - length] + end[length:]
        by_length.append(float(np.logaddexp.reduce(sums)))
        first = int(sums.argmax())
        if sums[first] > best:
            best, chosen = float(sums[first]), (first, first + length)
    confidence = float(np.exp(best - np.logaddexp.reduce(by_length)))
    return SpanChoice(*chosen, margin=null_logit - best, confidence=confidence)


def tune_null_threshold(
    margins: Sequence[float], if_answered: Sequence[float], if_refused: Sequence[float]
) -> float:
    """The threshold on the margin with the best mean score on validation rows.

    Args:
        margins: `SpanChoice.margin` of N questions.
        if_answered: score (F1) of each question's best span.
        if_refused: score of saying that there is no answer: 1 where that is right.

    Returns: halfway between the two margins it separates; of equally good ones that nearest to 0.
        0 if nothing was given.
    """
    if not len(margins):
        return 0.0
    order = np.argsort(margins, kind="stable")
    sorted_margins = np.asarray(margins, dtype=np.float64)[order]
    answered, refused = (
        np.asarray(scores, dtype=np.float64)[order] for scores in (if_answered, if_refused)
    )
    # After k questions in order of margin: the first k are answered, the others refused.
    totals = np.concatenate([[0.0], np.cumsum(answered)]) + np.concatenate(
        [np.cumsum(refused[::-1])[::-1], [0.0]]
    )
    finite = np.clip(sorted_margins, -1e6, 1e6)
    cuts = np.concatenate([[finite[0] - 1], (finite[:-1] + finite[1:]) / 2, [finite[-1] + 1]])
    separates = np.concatenate([[True], finite[:-1] < finite[1:], [True]])
    # Where 0 separates as well as the cut, 0 is the cut: the model's own rule needs no tuning.
    lower, upper = np.concatenate([[-np.inf], finite]), np.concatenate([finite, [np.inf]])
    cuts = np.where((lower <= 0) & (upper > 0), 0.0, cuts)
    best = totals[separates].max()
    good = cuts[separates & (totals >= best - 1e-9)]
    return float(good[np.abs(good).argmin()])
