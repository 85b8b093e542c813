"""Distillation losses: pure functions of logits.

One rule for all: float32 log-space inside whatever the logits' type, `temperature**2` always, and
the *sum* over examples divided by `normalizer`, the number of valid examples in the whole step (all
micro-batches and ranks), so that splitting a step never changes its gradient. The article behind
this project passes probabilities to `KLDivLoss`, averages over classes, and writes a KL that is not
one; the tests hold these functions against float64 references instead.

Shapes: B batch, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE_INDEX = -1


def soft_target_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """KL(teacher || student) of temperature-softened distributions, scaled by temperature**2.

    Args:
        student_logits_BC, teacher_logits_BC: float, (batch, classes), unnormalized.
        temperature: > 0, unitless.
        normalizer: number of examples in the whole step.
    Returns: scalar, nats per example.
    Raises: ValueError if the shapes differ or the temperature is not positive.
    References: Hinton et al. 2015, arXiv:1503.02531, section 2 (the T**2 factor).
    """
    _check_same_shape(student_logits_BC, teacher_logits_BC)
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it divides the logits and must be > 0")
    student_log_probs_BC = F.log_softmax(student_logits_BC.float() / temperature, dim=-1)
    teacher_log_probs_BC = F.log_softmax(teacher_logits_BC.float() / temperature, dim=-1)
    divergence = F.kl_div(
        student_log_probs_BC, teacher_log_probs_BC, reduction="sum", log_target=True
    )
    return divergence * temperature**2 / normalizer


def hard_label_loss(
    logits_BC: Tensor,
    labels_B: Tensor,
    *,
    normalizer: float | Tensor,
    label_smoothing: float = 0.0,
    class_weights_C: Tensor | None = None,
) -> Tensor:
    """Cross-entropy with class indices; rows labelled IGNORE_INDEX add nothing.

    Args:
        logits_BC: float, (batch, classes), unnormalized.
        labels_B: int64, (batch,), in [0, classes) or IGNORE_INDEX.
        normalizer: number of labelled examples in the whole step.
        label_smoothing: share of the target mass spread evenly over all classes, in [0, 1).
        class_weights_C: float, (classes,): what an example of each class counts; 1 if not given.
    Returns: scalar, nats per labelled example.
    Raises: ValueError if the batch sizes differ.
    References: Szegedy et al. 2016, arXiv:1512.00567, section 7 (label smoothing).
    """
    if logits_BC.shape[:1] != labels_B.shape:
        raise ValueError(f"{tuple(logits_BC.shape)} logits for {tuple(labels_B.shape)} labels")
    total = F.cross_entropy(
        logits_BC.float(),
        labels_B,
        ignore_index=IGNORE_INDEX,
        reduction="sum",
        label_smoothing=label_smoothing,
        weight=None if class_weights_C is None else class_weights_C.to(logits_BC.device),
    )
    return total / normalizer


def binary_soft_target_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """KL(teacher || student) of each class's yes or no, mean over classes, times temperature**2.

    Args, Returns, Raises: as `soft_target_loss`; nats per example and class.
    References: a softmax over classes that do not exclude one another trains the wrong thing
        (TextBrewer issue 50).
    """
    _check_same_shape(student_logits_BC, teacher_logits_BC)
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it divides the logits and must be > 0")
    student_BC = student_logits_BC.float() / temperature
    teacher_BC = teacher_logits_BC.float() / temperature
    divergence_BC = torch.zeros_like(teacher_BC)
    for sign in (1, -1):  # yes and no
        teacher_log_BC = F.logsigmoid(sign * teacher_BC)
        student_log_BC = F.logsigmoid(sign * student_BC)
        divergence_BC = divergence_BC + teacher_log_BC.exp() * (teacher_log_BC - student_log_BC)
    return divergence_BC.mean(-1).sum() * temperature**2 / normalizer


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
        logits_BC: float, (batch, classes), unnormalized.
        labels_BC: int64, (batch, classes), 0 or 1, or IGNORE_INDEX throughout a row.
        normalizer: number of labelled examples in the whole step.
        label_smoothing: labels become s / 2 and 1 - s / 2.
        class_weights_C: float, (classes,): what each class counts; 1 if not given.
    Returns: scalar, nats per labelled example and class.
    Raises: ValueError if the shapes differ.
    """
    if logits_BC.shape != labels_BC.shape:
        raise ValueError(f"{tuple(logits_BC.shape)} logits for {tuple(labels_BC.shape)} labels")
    known_B1 = (labels_BC[:, :1] != IGNORE_INDEX).float()
    targets_BC = labels_BC.clamp(min=0).float() * (1 - label_smoothing) + label_smoothing / 2
    losses_BC = F.binary_cross_entropy_with_logits(
        logits_BC.float(),
        targets_BC,
        reduction="none",
        weight=None if class_weights_C is None else class_weights_C.to(logits_BC.device),
    )
    return (losses_BC * known_B1).mean(-1).sum() / normalizer


def _check_same_shape(student_logits_BC: Tensor, teacher_logits_BC: Tensor) -> None:
    if student_logits_BC.shape != teacher_logits_BC.shape:
        raise ValueError(
            f"student logits {tuple(student_logits_BC.shape)} and teacher logits "
            f"{tuple(teacher_logits_BC.shape)} differ in shape: align the classes by name first"
        )
