"""Teachers over a vocabulary, stored as their k likeliest tokens and a tail.

    teacher  the 0.6  a 0.3  his 0.05 │ 99,997 others together 0.05   (the tail, one bucket)
    student  the 0.5  a 0.4  his 0.02 │ 99,997 others together 0.08

Both are compared as distributions over k + 1 events. Renormalising the teacher over its k tokens,
and not the student, would ask the student for probability that the teacher never gave. With k = V
the loss is that over the whole vocabulary. Tails are logsumexps of the other logits: 1 minus the
sum of k probabilities has no digits left where a side is sure.

    coarsened      logits, signals → log-probabilities of both sides over the k + 1 events
    coarse_loss    any divergence of two such distributions; KL as `topk_kl_loss` has it, the others
                   from `divergences`. No divergence grows when events are put together, so each is
                   at most that over the whole vocabulary (at temperature 1).

Shapes: N or B positions, one axis or several (texts, tokens); V vocabulary, K stored tokens a
position, E events: the K tokens and the tail.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.training.losses.divergences import (
    jsd_loss,
    reverse_kl_loss,
    skew_kl_loss,
    skew_reverse_kl_loss,
    total_variation_loss,
)
from tasks.training.losses.positions import (
    at_least_float32,
    check_mask,
    check_temperature,
    cleared,
    constant,
    valid_sum,
)

# What a teacher gives no probability at all (a tail of none) counts as the least float32 there is:
# KL(student || teacher) would be infinite.
_LEAST_LOG_PROB = math.log(torch.finfo(torch.float32).tiny)


@dataclass(frozen=True)
class SparseTargets:
    """A teacher's distribution over each token: its likeliest tokens and all others together.

    Args:
        ids_NK: int64, different from one another.
        log_probs_NK: float, nats, at temperature 1.
        tail_N: float, log-probability of all tokens not in `ids_NK`; -inf if there are none.
    """

    ids_NK: Tensor
    log_probs_NK: Tensor
    tail_N: Tensor


def topk_kl_loss(
    student_logits_BV: Tensor,
    targets: SparseTargets,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """KL(teacher || student) over the stored tokens and the tail, softened, times temperature**2.

    Its gradient is that of word-level distillation, the cross-entropy with the teacher's next-token
    distribution, whose value has the teacher's entropy as a floor. At temperature 1 the value never
    exceeds the KL over the whole vocabulary. At others the teacher's tail is softened as if it were
    spread evenly, for what lies inside it was not kept; with k = V the loss is exact at any
    temperature.

    Args:
        student_logits_BV: float, (positions, vocabulary), unnormalized.
        targets: of the same positions.
        mask_B: bool, (positions): which of them count (labels != IGNORE_INDEX, not what the decoder
            reads: it starts with a token that some models also pad with); all if not given.
        temperature: > 0, unitless.
        normalizer: number of valid positions in the whole step.
    Returns: scalar, nats per position.
    Raises: ValueError if the shapes do not fit or the temperature is not positive.
    References: Kim & Rush 2016, arXiv:1606.07947, section 3.1.
    """
    log_q_BE, log_p_BE = coarsened(student_logits_BV, targets, mask_B, temperature=temperature)
    return _kl_loss(log_q_BE, log_p_BE, mask_B, temperature=temperature, normalizer=normalizer)


def coarsened(
    student_logits_BV: Tensor,
    targets: SparseTargets,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Softened log-probabilities of student and teacher over the stored tokens and the tail.

    Args:
        student_logits_BV, targets, mask_B, temperature: as in `topk_kl_loss`.
    Returns: (positions, K + 1) twice, or (positions, K) if every token is stored: the student's
        with a gradient, the teacher's without; -inf where the teacher gives nothing.
    Raises: ValueError as `topk_kl_loss`.
    """
    check_mask(mask_B, student_logits_BV)
    check_temperature(temperature)
    ids_BK = targets.ids_NK
    if (
        ids_BK.shape != targets.log_probs_NK.shape
        or not ids_BK.shape[:-1] == targets.tail_N.shape == student_logits_BV.shape[:-1]
    ):
        raise ValueError(
            f"{tuple(ids_BK.shape)} token ids, {tuple(targets.log_probs_NK.shape)} "
            f"log-probabilities and {tuple(targets.tail_N.shape)} tails for student logits "
            f"{tuple(student_logits_BV.shape)}: align the positions before"
        )
    # Cleared before any arithmetic: 0 · NaN of a masked place would be a NaN in the gradient.
    student = cleared(student_logits_BV, mask_B) / temperature
    log_p = cleared(constant(targets.log_probs_NK), mask_B) / temperature
    if mask_B is not None:
        ids_BK = ids_BK.masked_fill(~mask_B.unsqueeze(-1), 0)
    log_total = student.logsumexp(-1, keepdim=True)
    log_q = student.gather(-1, ids_BK) - log_total
    if num_others := student.shape[-1] - ids_BK.shape[-1]:
        others = student.scatter(-1, ids_BK, -torch.inf)
        log_q = torch.cat([log_q, others.logsumexp(-1, keepdim=True) - log_total], -1)
        spread = math.log(num_others)
        tail_B = cleared(constant(targets.tail_N), mask_B)
        log_p = torch.cat([log_p, (spread + (tail_B - spread) / temperature).unsqueeze(-1)], -1)
    # Stored with few bits, probabilities may not sum to 1.
    log_p = at_least_float32(log_p).log_softmax(-1)
    return log_q, log_p


def coarse_loss(
    kind: str,
    log_q_BE: Tensor,
    log_p_BE: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
    **parameters: float,
) -> Tensor:
    """A divergence of two distributions that `coarsened` gave, times temperature**2.

    Args:
        kind: kl, reverse_kl, jsd, skew_kl, skew_reverse_kl or total_variation.
        log_q_BE, log_p_BE: of student and teacher, float, (positions, events).
        mask_B: bool, (positions): which of them count; all if not given.
        temperature: at which both were softened, > 0.
        normalizer: number of valid positions in the whole step.
        parameters: of this kind alone, `beta` or `skew`; see `divergences`.
    Returns: scalar, nats per position (total variation: unitless).
    Raises: ValueError if the shapes differ or a parameter is out of its range.
    """
    return COARSE_LOSSES[kind](
        log_q_BE, log_p_BE, mask_B, temperature=temperature, normalizer=normalizer, **parameters
    )


def _kl_loss(
    log_q_BE: Tensor,
    log_p_BE: Tensor,
    mask_B: Tensor | None,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    p = log_p_BE.exp()
    divergence = torch.where(p > 0, p * (log_p_BE.masked_fill(p == 0, 0.0) - log_q_BE), 0.0)
    return valid_sum(divergence.sum(-1), mask_B) * temperature**2 / normalizer


def _of_logits(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A loss of logits as one of log-probabilities: these are logits of their distribution."""

    def computed(
        log_q_BE: Tensor,
        log_p_BE: Tensor,
        mask_B: Tensor | None,
        *,
        temperature: float,
        normalizer: float | Tensor,
        **parameters: float,
    ) -> Tensor:
        log_p_BE = log_p_BE.clamp(min=_LEAST_LOG_PROB).to(log_q_BE.dtype)
        # Softened already: a temperature here would soften twice.
        value = loss(
            log_q_BE, log_p_BE, mask_B, temperature=1.0, normalizer=normalizer, **parameters
        )
        return value * temperature**2

    return computed


COARSE_LOSSES: dict[str, Callable[..., Tensor]] = {
    "kl": _kl_loss,
    "reverse_kl": _of_logits(reverse_kl_loss),
    "jsd": _of_logits(jsd_loss),
    "skew_kl": _of_logits(skew_kl_loss),
    "skew_reverse_kl": _of_logits(skew_reverse_kl_loss),
    "total_variation": _of_logits(total_variation_loss),
}
"""Divergences over stored tokens and a tail, by kind."""
