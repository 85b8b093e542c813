"""Losses of the logits themselves: their distance, their shape, and the true class apart.

Shapes: B positions, one axis or several (texts, units or tokens); C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses.divergences import soft_target_loss
from tasks.training.losses.hard import IGNORE_INDEX
from tasks.training.losses.positions import (
    at_least_float32,
    check_mask,
    check_same_shape,
    check_temperature,
    cleared,
    constant,
    valid_sum,
)

# Logits are divided by their standard deviation plus this, as in the paper's own code.
_STD_EPSILON = 1e-7


def logit_mse_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None = None,
    *,
    normalizer: float | Tensor,
    centered: bool = False,
) -> Tensor:
    """Squared difference of the logits, averaged over the classes.

    There is no temperature: dividing both logits by T, and multiplying by T**2 as all losses here
    do, leaves this value for every T. (Toolkits that do only the first learn T**2 times slower.)

    Args:
        student_logits_BC, teacher_logits_BC: float, (positions, classes), unnormalized.
        mask_B: bool, (positions): which of them count; all if not given.
        normalizer: number of valid positions in the whole step.
        centered: compare differences between classes only, which is all that a softmax sees.
    Returns: scalar, squared logits per position and class.
    Raises: ValueError if the shapes differ.
    References: Ba & Caruana 2014, arXiv:1312.6184, section 2.2; Hinton et al. 2015,
        arXiv:1503.02531, section 2.1 (the limit of high temperatures).
    """
    check_same_shape(student_logits_BC, teacher_logits_BC)
    check_mask(mask_B, student_logits_BC)
    difference = cleared(student_logits_BC, mask_B) - cleared(constant(teacher_logits_BC), mask_B)
    if centered:
        difference = difference - difference.mean(-1, keepdim=True)
    return difference.square().mean(-1).sum() / normalizer


def standardised_logit_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """KL of standardised logits: the student matches their shape, and is free in their scale.

    Args and Returns as `divergences.soft_target_loss`; at least 2 classes.
    References: Sun et al. 2024, arXiv:2403.01427, algorithm 1.
    """
    check_mask(mask_B, student_logits_BC)
    return soft_target_loss(
        _standardised(cleared(student_logits_BC, mask_B)),
        _standardised(cleared(teacher_logits_BC, mask_B)),
        mask_B,
        temperature=temperature,
        normalizer=normalizer,
    )


def decoupled_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    labels_B: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
) -> Tensor:
    """Decoupled KD: alpha KL(true class or not) + beta KL(among the other classes).

    With alpha 1 and beta 1 - p(true class) it is `divergences.soft_target_loss`, whose second part
    vanishes just where the teacher is sure; here its weight is free.

    Args:
        student_logits_BC, teacher_logits_BC: float, (positions, classes), unnormalized.
        labels_B: int64, (positions): true classes; at IGNORE_INDEX the teacher's choice.
        mask_B: bool, (positions): which of them count; all if not given.
        temperature: > 0, unitless.
        normalizer: number of valid positions in the whole step.
        alpha, beta: weights of the two parts.
    Returns: scalar, nats per position.
    Raises: ValueError if the shapes differ, the temperature is not positive or C < 2.
    References: Zhao et al. 2022, arXiv:2203.08679, equations 5-7 (alpha 1 and beta 8 as there).
    """
    check_same_shape(student_logits_BC, teacher_logits_BC)
    check_mask(mask_B, student_logits_BC)
    check_temperature(temperature)
    if labels_B.shape != student_logits_BC.shape[:-1]:
        raise ValueError(
            f"{tuple(student_logits_BC.shape)} logits for {tuple(labels_B.shape)} labels"
        )
    if student_logits_BC.shape[-1] < 2:
        raise ValueError("one class only: there is no other class to learn from")
    student = cleared(student_logits_BC, mask_B) / temperature
    teacher = cleared(constant(teacher_logits_BC), mask_B) / temperature
    target_B = torch.where(labels_B == IGNORE_INDEX, teacher.argmax(-1), labels_B)
    if mask_B is not None:
        target_B = target_B.masked_fill(~mask_B, 0)
    is_target_BC = F.one_hot(target_B, student.shape[-1]).bool()
    log_q_target, log_q_rest, log_q_among = _decoupled(student, target_B, is_target_BC)
    log_p_target, log_p_rest, log_p_among = _decoupled(teacher, target_B, is_target_BC)
    target_part = log_p_target.exp() * (log_p_target - log_q_target)
    target_part = target_part + log_p_rest.exp() * (log_p_rest - log_q_rest)
    among_BC = log_p_among.exp() * (log_p_among - log_q_among)
    among_part = among_BC.masked_fill(is_target_BC, 0.0).sum(-1)
    total = valid_sum(alpha * target_part + beta * among_part, mask_B)
    return total * temperature**2 / normalizer


def _standardised(logits_BC: Tensor) -> Tensor:
    logits_BC = at_least_float32(logits_BC)
    centered = logits_BC - logits_BC.mean(-1, keepdim=True)
    return centered / (logits_BC.std(-1, keepdim=True) + _STD_EPSILON)


def _decoupled(
    logits_BC: Tensor, target_B: Tensor, is_target_BC: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of the target, of all others together, and among those others.

    The last are meaningless, but finite, at the target.
    """
    log_all_B = logits_BC.logsumexp(-1)
    log_others_B = logits_BC.masked_fill(is_target_BC, -torch.inf).logsumexp(-1)
    target_logits_B = logits_BC.gather(-1, target_B.unsqueeze(-1)).squeeze(-1)
    among_BC = (logits_BC - log_others_B.unsqueeze(-1)).masked_fill(is_target_BC, 0.0)
    return target_logits_B - log_all_B, log_others_B - log_all_B, among_BC
