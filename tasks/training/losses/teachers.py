"""Several teachers as one.

    teacher 1  90 % off, 10 % on  ┐ mean of      50 % off, 50 % on: they disagree, and it shows
    teacher 2  10 % off, 90 % on  ┘ probabilities

Averaged logits would say the same here; but of teachers that are sure to 99.99 % and to 60 % the
first decides alone: its logits are twenty times as large.

Shapes: K teachers, B positions (texts, units or tokens), C classes in one order.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from tasks.training.losses.positions import (
    at_least_float32,
    check_temperature,
    constant,
    full_precision,
)


@full_precision
def averaged_teacher_logits(
    teacher_logits_KBC: Tensor,
    weights: Tensor,
    *,
    temperature: float,
    average: Literal["probabilities", "logits"] = "probabilities",
) -> Tensor:
    """Logits of one teacher that stands for several, for a loss at `temperature`.

    softmax(result / temperature) is the weighted mean of softmax(logits / temperature).

    Args:
        teacher_logits_KBC: float, (teachers, positions, classes), unnormalized.
        weights: float, (teachers,) or (teachers, positions), >= 0; only their ratios count.
        temperature: > 0, at which the loss will soften them.
        average: `logits` gives a geometric mean, which the surest teacher dominates; weights then
            should be equal, or the teachers on one scale.
    Returns: (positions, classes), float32 (float64 if given).
    Raises: ValueError if the weights fit neither shape or the temperature is not positive.
    """
    check_temperature(temperature)
    logits = at_least_float32(constant(teacher_logits_KBC))
    if weights.shape not in (logits.shape[:1], logits.shape[:-1]):
        raise ValueError(
            f"weights of shape {tuple(weights.shape)} for logits {tuple(logits.shape)}: give one "
            "a teacher, or one a teacher and position"
        )
    weights = weights.detach().to(logits)
    weights = weights / weights.sum(0, keepdim=True)
    weights = weights.reshape(*weights.shape, *([1] * (logits.dim() - weights.dim())))
    if average == "logits":
        return (weights * logits).sum(0)
    log_probs = (logits / temperature).log_softmax(-1)
    return temperature * (log_probs + weights.log()).logsumexp(0)
