"""Hidden states of a student's layer against those of a teacher's layer, position by position.

Widths must be equal here: a projection (companions/projections.py) bridges them before.

Shapes: B positions, (texts,) or (texts, tokens); D width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses.positions import (
    check_mask,
    check_same_shape,
    cleared,
    constant,
    valid_sum,
)


def hidden_mse_loss(
    student_states_BD: Tensor,
    teacher_states_BD: Tensor,
    mask_B: Tensor | None = None,
    *,
    normalizer: float | Tensor,
) -> Tensor:
    """Squared difference, averaged over the width.

    Args:
        student_states_BD, teacher_states_BD: float, (positions, width); the student's projected.
        mask_B: bool, (positions): which of them count; all if not given.
        normalizer: number of valid positions in the whole step.
    Returns: scalar, squared units of the states.
    Raises: ValueError if the shapes differ.
    References: Jiao et al. 2020, arXiv:1909.10351, equation 8.
    """
    _check(student_states_BD, teacher_states_BD, mask_B)
    student, teacher = cleared(student_states_BD, mask_B), cleared(teacher_states_BD, mask_B)
    return (student - constant(teacher)).square().mean(-1).sum() / normalizer


def hidden_cosine_loss(
    student_states_BD: Tensor,
    teacher_states_BD: Tensor,
    mask_B: Tensor | None = None,
    *,
    normalizer: float | Tensor,
) -> Tensor:
    """1 - cosine of the two states, in [0, 2]; otherwise as `hidden_mse_loss`.

    Half the squared distance of the normalized states, so it is patient KD's loss too (Sun et al.
    2019, arXiv:1908.09355), up to that factor.

    References: Sanh et al. 2019, arXiv:1910.01108, section 2.
    """
    _check(student_states_BD, teacher_states_BD, mask_B)
    student, teacher = cleared(student_states_BD, mask_B), cleared(teacher_states_BD, mask_B)
    distance_B = 1 - F.cosine_similarity(student, constant(teacher), dim=-1)
    return valid_sum(distance_B, mask_B) / normalizer


def _check(student_BD: Tensor, teacher_BD: Tensor, mask_B: Tensor | None) -> None:
    check_same_shape(student_BD, teacher_BD, what="states")
    check_mask(mask_B, student_BD)
