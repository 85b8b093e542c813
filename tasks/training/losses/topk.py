"""Teachers over a vocabulary, stored as their k likeliest tokens and a tail.

    teacher  the 0.6  a 0.3  his 0.05 │ 99,997 others together 0.05   (the tail, one bucket)
    student  the 0.5  a 0.4  his 0.02 │ 99,997 others together 0.08

Both are compared as distributions over k + 1 events. Renormalising the teacher over its k tokens,
and not the student, would ask the student for probability that the teacher never gave. With k = V
the loss is that over the whole vocabulary. The student's tail is a logsumexp of its other logits:
1 minus the sum of k probabilities has no digits left where the student is sure.

Shapes: B positions, one axis or several (texts, tokens); V vocabulary, K stored tokens a position.
"""

from __future__ import annotations

import math

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


def topk_kl_loss(
    student_logits_BV: Tensor,
    topk_ids_BK: Tensor,
    topk_log_probs_BK: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """KL(teacher || student) over the stored tokens and the bucket of all others, times T**2.

    Args:
        student_logits_BV: float, (positions, vocabulary), unnormalized.
        topk_ids_BK: int64, (positions, k), different from one another.
        topk_log_probs_BK: log-probabilities of the teacher *at `temperature`*, of the whole
            vocabulary; `retempered` moves stored ones there. What they leave of 1 is the tail.
        mask_B: bool, (positions): which of them count (labels != IGNORE_INDEX, not what the decoder
            reads: it starts with a token that some models also pad with); all if not given.
        temperature: > 0, unitless.
        normalizer: number of valid positions in the whole step.
    Returns: scalar, nats per position.
    Raises: ValueError if the shapes do not fit or the temperature is not positive.
    """
    log_q, log_p, p = _events(
        student_logits_BV, topk_ids_BK, topk_log_probs_BK, mask_B, temperature
    )
    divergence = torch.where(p > 0, p * (log_p - log_q), torch.zeros_like(p))
    return valid_sum(divergence, mask_B) * temperature**2 / normalizer


def word_level_loss(
    student_logits_BV: Tensor,
    topk_ids_BK: Tensor,
    topk_log_probs_BK: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """Cross-entropy with the teacher's next-token distribution, as word-level KD is written.

    The gradient of `topk_kl_loss`, and the teacher's entropy as a floor. Args and Returns as there.

    References: Kim & Rush 2016, arXiv:1606.07947, section 3.1.
    """
    log_q, _, p = _events(student_logits_BV, topk_ids_BK, topk_log_probs_BK, mask_B, temperature)
    entropy = torch.where(p > 0, -p * log_q, torch.zeros_like(p))
    return valid_sum(entropy, mask_B) * temperature**2 / normalizer


def retempered(topk_log_probs_BK: Tensor, *, temperature: float, vocab_size: int) -> Tensor:
    """Stored log-probabilities, taken at temperature 1, at `temperature`.

    How the tail divides among its tokens was not stored; it is taken as even. Exact for k = V, or
    where it is even; else the tail weighs too much above temperature 1, for an even one is the
    flattest there is.

    Args:
        topk_log_probs_BK: float, (positions, k), at temperature 1.
        vocab_size: V, tokens of the teacher's vocabulary.
    Returns: as given, (positions, k), at least float32.
    Raises: ValueError if the temperature is not positive.
    """
    check_temperature(temperature)
    log_p = at_least_float32(topk_log_probs_BK)
    num_others = vocab_size - log_p.shape[-1]
    scaled = log_p / temperature
    if not num_others:
        return scaled.log_softmax(-1)
    log_tail = _log_tail(log_p.logsumexp(-1, keepdim=True).clamp(max=0))
    log_tail = (log_tail - math.log(num_others)) / temperature + math.log(num_others)
    return torch.cat([scaled, log_tail], -1).log_softmax(-1)[..., :-1]


def _events(
    student_logits_BV: Tensor,
    topk_ids_BK: Tensor,
    topk_log_probs_BK: Tensor,
    mask_B: Tensor | None,
    temperature: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """log q, log p and p of the k tokens and, unless k = V, of the tail."""
    check_mask(mask_B, student_logits_BV)
    check_temperature(temperature)
    if (
        topk_ids_BK.shape != topk_log_probs_BK.shape
        or topk_ids_BK.shape[:-1] != student_logits_BV.shape[:-1]
    ):
        raise ValueError(
            f"{tuple(topk_ids_BK.shape)} token ids and {tuple(topk_log_probs_BK.shape)} "
            f"log-probabilities for student logits {tuple(student_logits_BV.shape)}"
        )
    student = cleared(student_logits_BV, mask_B) / temperature
    if mask_B is not None:
        topk_ids_BK = topk_ids_BK.masked_fill(~mask_B.unsqueeze(-1), 0)
    log_total = student.logsumexp(-1, keepdim=True)
    log_q = student.gather(-1, topk_ids_BK) - log_total
    log_p = cleared(constant(topk_log_probs_BK), mask_B)
    # Stored with few bits, k probabilities may exceed 1 together.
    log_mass = log_p.logsumexp(-1, keepdim=True)
    log_p = log_p - log_mass.clamp(min=0)
    if topk_ids_BK.shape[-1] < student.shape[-1]:
        others = student.scatter(-1, topk_ids_BK, -torch.inf)
        log_q = torch.cat([log_q, others.logsumexp(-1, keepdim=True) - log_total], -1)
        log_p = torch.cat([log_p, _log_tail(log_mass.clamp(max=0))], -1)
    p = log_p.exp()
    return log_q, log_p.masked_fill(p == 0, 0.0), p


def _log_tail(log_mass: Tensor) -> Tensor:
    """log(1 - exp(log_mass)), -inf where nothing is left."""
    return torch.log(-torch.expm1(log_mass))
