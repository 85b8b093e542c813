"""Losses where each class is a decision of its own: one yes or no a class, a sigmoid each.

A softmax over such logits would make the classes compete, though several may hold at once
(TextBrewer issue 50). Both losses average over the classes: nats per decision.

Shapes: B positions, one axis or several (texts, units or tokens); C classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses.hard import IGNORE_INDEX
from tasks.training.losses.positions import (
    at_least_float32,
    check_mask,
    check_same_shape,
    check_temperature,
    cleared,
    constant,
)


def binary_soft_target_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """KL(teacher || student) of each class's yes or no, mean over classes, times temperature**2.

    Other toolkits leave the teacher's entropy in: a floor that says nothing about the student.

    Args:
        student_logits_BC, teacher_logits_BC: float, (positions, classes), before the sigmoid.
        mask_B: bool, (positions): which of them count; all if not given.
        temperature: > 0, unitless.
        normalizer: number of valid positions in the whole step.
    Returns: scalar, nats per position and class.
    Raises: ValueError if the shapes differ or the temperature is not positive.
    """
    check_same_shape(student_logits_BC, teacher_logits_BC)
    check_mask(mask_B, student_logits_BC)
    check_temperature(temperature)
    student = cleared(student_logits_BC, mask_B) / temperature
    teacher = cleared(constant(teacher_logits_BC), mask_B) / temperature
    yes = teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(student))
    no = (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return (yes + no).mean(-1).sum() * temperature**2 / normalizer


def binary_hard_label_loss(
    logits_BC: Tensor,
    labels_BC: Tensor,
    *,
    normalizer: float | Tensor,
    label_smoothing: float = 0.0,
    class_weights_C: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of each class, mean over classes; rows of IGNORE_INDEX add nothing.

    Args:
        logits_BC: float, (positions, classes), before the sigmoid.
        labels_BC: int64, (positions, classes), 0 or 1, or IGNORE_INDEX throughout a row.
        normalizer: number of labelled positions in the whole step.
        label_smoothing: labels become s / 2 and 1 - s / 2.
        class_weights_C: float, (classes,): what a yes to each class counts, a no counting 1; 1 if
            not given. A weight on both would leave a rare class as unbalanced as it is.
    Returns: scalar, nats per labelled position and class.
    Raises: ValueError if the shapes differ.
    """
    if logits_BC.shape != labels_BC.shape:
        raise ValueError(f"{tuple(logits_BC.shape)} logits for {tuple(labels_BC.shape)} labels")
    known_B = labels_BC[..., 0] != IGNORE_INDEX
    logits_BC = at_least_float32(logits_BC)
    targets_BC = labels_BC.to(logits_BC) * (1 - label_smoothing) + label_smoothing / 2
    losses_BC = F.binary_cross_entropy_with_logits(
        cleared(logits_BC, known_B),
        cleared(targets_BC, known_B),
        reduction="none",
        pos_weight=None if class_weights_C is None else class_weights_C.to(logits_BC),
    )
    return cleared(losses_BC, known_B).mean(-1).sum() / normalizer
