"""DIST: the student matches how probabilities rise and fall together, not their values.

Shapes: B texts of one pass, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.training.losses.positions import cleared, num_valid, softened_log_probs

# Squared norms below this are those of constants in float32 arithmetic: nothing to correlate.
_CONSTANT = 1e-14


def dist_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
    beta: float = 1.0,
    gamma: float = 1.0,
) -> Tensor:
    """beta (1 - correlation over a text's classes) + gamma (1 - correlation over a class's texts).

    The second part compares the texts of a pass, and counts by how many it saw. Where the teacher
    is constant (a class it gives to no text, a pass of one text) there is nothing to match, and
    that correlation adds nothing.

    Args:
        student_logits_BC, teacher_logits_BC: float, (texts, classes), unnormalized.
        mask_B: bool, (texts,): which of them count; all if not given.
        temperature: > 0, unitless; correlations hardly change with it, so temperature**2 is a
            weight here.
        normalizer: number of valid texts in the whole step.
        beta, gamma: weights of the two parts.
    Returns: scalar, unitless per text.
    Raises: ValueError if the shapes differ, have more axes, or the temperature is not positive.
    References: Huang et al. 2022, arXiv:2205.10536, equations 8-10.
    """
    log_q, log_p = softened_log_probs(student_logits_BC, teacher_logits_BC, mask_B, temperature)
    if log_q.dim() != 2:
        raise ValueError(f"logits of shape {tuple(log_q.shape)}: flatten them to (texts, classes)")
    student, teacher = log_q.exp(), log_p.exp()
    between = cleared(_uncorrelated(_centered(student), _centered(teacher)), mask_B).sum()
    count = num_valid(mask_B, student)
    within = _uncorrelated(
        _centered_texts(student, mask_B, count).t(), _centered_texts(teacher, mask_B, count).t()
    ).mean()
    return (beta * between + gamma * within * count) * temperature**2 / normalizer


def _centered(values_BC: Tensor) -> Tensor:
    return values_BC - values_BC.mean(-1, keepdim=True)


def _centered_texts(values_BC: Tensor, mask_B: Tensor | None, count: Tensor | int) -> Tensor:
    mean_C = cleared(values_BC, mask_B).sum(0) / (
        count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1)
    )
    return cleared(values_BC - mean_C, mask_B)


def _uncorrelated(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - Pearson's correlation of centered rows; 0 where the teacher's row is constant."""
    squares_student, squares_teacher = student.square().sum(-1), teacher.square().sum(-1)
    scale = squares_student.clamp(min=_CONSTANT).rsqrt()
    scale = scale * squares_teacher.clamp(min=_CONSTANT).rsqrt()
    missing = 1 - (student * teacher).sum(-1) * scale
    return torch.where(squares_teacher > _CONSTANT, missing, torch.zeros_like(missing))
