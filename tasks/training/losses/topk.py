"""Teachers over a vocabulary, stored as their k likeliest tokens and a tail.

    teacher  the 0.6  a 0.3  his 0.05 │ 99,997 others together 0.05   (the tail, one bucket)
    student  the 0.5  a 0.4  his 0.02 │ 99,997 others together 0.08

Both are compared as distributions over k + 1 events. Renormalising the teacher over its k tokens,
and not the student, would ask the student for probability that the teacher never gave. With k = V
the loss is that over the whole vocabulary. Tails are logsumexps of the other logits: 1 minus the
sum of k probabilities has no digits left where a side is sure.

Shapes: N or B positions, one axis or several (texts, tokens); V vocabulary, K stored tokens a
position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.training.losses.positions import (
    at_least_float32,
    check_mask,
    check_temperature,
    cleared,
    constant,
    valid_sum,
)


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
    p = log_p.exp()
    divergence = torch.where(p > 0, p * (log_p.masked_fill(p == 0, 0.0) - log_q), 0.0)
    return valid_sum(divergence.sum(-1), mask_B) * temperature**2 / normalizer
