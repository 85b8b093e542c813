"""How texts lie to one another, whatever the axes: CKA, and relational KD (RKD).

These compare the texts of one pass; widths may differ, and no projection is needed. Each is a mean
over the pass, counted by its texts.

Shapes: B texts of one pass, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses.positions import check_mask, cleared, constant, full_precision, num_valid

# Lengths below this are 0 in float32 arithmetic.
_SMALLEST = 1e-12


@full_precision
def cka_loss(
    student_states_BD: Tensor,
    teacher_states_BD: Tensor,
    mask_B: Tensor | None = None,
    *,
    normalizer: float | Tensor,
) -> Tensor:
    """1 - linear centered kernel alignment, in [0, 1]; 0 if alike but for rotation and scale.

    With fewer texts than widths it is small by chance: give passes of hundreds of texts.

    Args:
        student_states_BD, teacher_states_BD: float, (texts, width); the widths may differ.
        mask_B: bool, (texts,): which of them count; all if not given.
        normalizer: number of valid texts in the whole step.
    Returns: scalar, unitless. A pass whose teacher states are all alike (one text) adds nothing.
    Raises: ValueError if the numbers of texts differ.
    References: Kornblith et al. 2019, arXiv:1905.00414, section 3.
    """
    _check_texts(student_states_BD, teacher_states_BD, mask_B)
    student, count = _centered(student_states_BD, mask_B)
    teacher, _ = _centered(constant(teacher_states_BD), mask_B)
    # Equal in value: products of texts, or of dimensions. The smaller matrix is the cheaper.
    if len(student) <= max(student.shape[1], teacher.shape[1]):
        own_student, own_teacher = student @ student.T, teacher @ teacher.T
        shared = (own_student * own_teacher).sum()
    else:
        own_student, own_teacher = student.T @ student, teacher.T @ teacher
        shared = (teacher.T @ student).square().sum()
    size_student, size_teacher = own_student.norm(), own_teacher.norm()
    missing = 1 - shared / (size_student * size_teacher).clamp(min=_SMALLEST)
    missing = torch.where(size_teacher > _SMALLEST, missing, torch.zeros_like(missing))
    return missing * count / normalizer


@full_precision
def distance_relation_loss(
    student_states_BD: Tensor,
    teacher_states_BD: Tensor,
    mask_B: Tensor | None = None,
    *,
    normalizer: float | Tensor,
) -> Tensor:
    """Huber loss of the pairwise distances, each in units of its own mean distance.

    Args and Returns as `cka_loss`; a mean over all ordered pairs, a text with itself included.
    References: Park et al. 2019, arXiv:1904.05068, equations 6-8.
    """
    _check_texts(student_states_BD, teacher_states_BD, mask_B)
    student, teacher = cleared(student_states_BD, mask_B), cleared(teacher_states_BD, mask_B)
    pairs_BB = _pairs(mask_B, student)
    difference = F.smooth_l1_loss(
        _relative_distances(student, pairs_BB),
        _relative_distances(constant(teacher), pairs_BB),
        reduction="none",
    )
    return (
        difference.masked_fill(~pairs_BB, 0.0).sum() / _at_least_one(mask_B, student) / normalizer
    )


@full_precision
def angle_relation_loss(
    student_states_BD: Tensor,
    teacher_states_BD: Tensor,
    mask_B: Tensor | None = None,
    *,
    normalizer: float | Tensor,
) -> Tensor:
    """Huber loss of the cosines of the angles that every three texts form.

    Args and Returns as `cka_loss`; a mean over all ordered triples. Memory and time grow with the
    square of the texts times the width, and with their cube: give passes of tens of texts.
    References: Park et al. 2019, arXiv:1904.05068, equations 9-11.
    """
    _check_texts(student_states_BD, teacher_states_BD, mask_B)
    student, teacher = cleared(student_states_BD, mask_B), cleared(teacher_states_BD, mask_B)
    pairs_BB = _pairs(mask_B, student)
    triples_BBB = pairs_BB.unsqueeze(-1) & pairs_BB.unsqueeze(-2)
    difference = F.smooth_l1_loss(_angles(student), _angles(constant(teacher)), reduction="none")
    total = difference.masked_fill(~triples_BBB, 0.0).sum()
    return total / _at_least_one(mask_B, student) ** 2 / normalizer


def _centered(states_BD: Tensor, mask_B: Tensor | None) -> tuple[Tensor, Tensor | int]:
    states = cleared(states_BD, mask_B)
    mean_D = states.sum(0) / _at_least_one(mask_B, states)
    return cleared(states - mean_D, mask_B), num_valid(mask_B, states)


def _at_least_one(mask_B: Tensor | None, states_BD: Tensor) -> Tensor | int:
    count = num_valid(mask_B, states_BD)
    return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1)


def _pairs(mask_B: Tensor | None, states_BD: Tensor) -> Tensor:
    if mask_B is None:
        mask_B = torch.ones(len(states_BD), dtype=torch.bool, device=states_BD.device)
    return mask_B.unsqueeze(0) & mask_B.unsqueeze(1)


def _relative_distances(states_BD: Tensor, pairs_BB: Tensor) -> Tensor:
    # Through differences: through products, near texts have no distance left.
    distances = torch.cdist(states_BD, states_BD, compute_mode="donot_use_mm_for_euclid_dist")
    distances = distances.masked_fill(~pairs_BB, 0.0)
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / mean.clamp(min=_SMALLEST)


def _angles(states_BD: Tensor) -> Tensor:
    """Cosine of the angle at text i between texts j and k."""
    directions_BBD = F.normalize(states_BD.unsqueeze(0) - states_BD.unsqueeze(1), dim=-1)
    return directions_BBD @ directions_BBD.mT


def _check_texts(student_BD: Tensor, teacher_BD: Tensor, mask_B: Tensor | None) -> None:
    if student_BD.dim() != 2 or teacher_BD.dim() != 2 or len(student_BD) != len(teacher_BD):
        raise ValueError(
            f"student states {tuple(student_BD.shape)} and teacher states "
            f"{tuple(teacher_BD.shape)}: give (texts, width) with the same texts"
        )
    check_mask(mask_B, student_BD)
