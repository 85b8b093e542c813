"""Softmax over the units of each text: where an answer starts, where it ends.

Texts differ in their number of units, so that rows are padded, and the mask says which slots are
real; padding has no probability. Classes are slots here: row i of start logits over `num_units`
units (and a slot for "no answer") is one distribution.

Shapes: B rows (texts), U slots (units of the longest text, and a no-answer slot).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses.hard import IGNORE_INDEX
from tasks.training.losses.positions import (
    at_least_float32,
    check_same_shape,
    check_temperature,
    constant,
)


def segment_kl_loss(
    student_logits_BU: Tensor,
    teacher_logits_BU: Tensor,
    mask_BU: Tensor,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """KL(teacher || student) over the real slots of each row, scaled by temperature**2.

    Args:
        student_logits_BU, teacher_logits_BU: float, (rows, slots), unnormalized.
        mask_BU: bool, (rows, slots): the real ones; a row without any adds nothing.
        temperature: > 0, unitless.
        normalizer: number of rows with a real slot in the whole step.
    Returns: scalar, nats per row.
    Raises: ValueError if the shapes differ or the temperature is not positive.
    """
    check_same_shape(student_logits_BU, teacher_logits_BU)
    _check_slots(mask_BU, student_logits_BU)
    check_temperature(temperature)
    log_q = _segment_log_probs(student_logits_BU, mask_BU, temperature)
    log_p = _segment_log_probs(constant(teacher_logits_BU), mask_BU, temperature)
    divergence = (log_p.exp() * (log_p - log_q)).masked_fill(~mask_BU, 0.0)
    return divergence.sum() * temperature**2 / normalizer


def segment_label_loss(
    logits_BU: Tensor,
    labels_B: Tensor,
    mask_BU: Tensor,
    *,
    normalizer: float | Tensor,
) -> Tensor:
    """Cross-entropy with the number of the right slot; rows labelled IGNORE_INDEX add nothing.

    Args:
        logits_BU: float, (rows, slots), unnormalized.
        labels_B: int64, (rows,): a real slot or IGNORE_INDEX. A masked slot has probability 0, and
            the loss is infinite: training stops instead of learning it.
        mask_BU: bool, (rows, slots): the real ones.
        normalizer: number of labelled rows in the whole step.
    Returns: scalar, nats per labelled row.
    Raises: ValueError if the shapes differ.
    """
    _check_slots(mask_BU, logits_BU)
    if labels_B.shape != logits_BU.shape[:-1]:
        raise ValueError(f"{tuple(logits_BU.shape)} logits for {tuple(labels_B.shape)} labels")
    log_probs_BU = _segment_log_probs(logits_BU, mask_BU, 1.0)
    log_probs_BU = log_probs_BU.masked_fill(~mask_BU, -torch.inf)
    total = F.nll_loss(
        log_probs_BU.flatten(end_dim=-2),
        labels_B.flatten(),
        ignore_index=IGNORE_INDEX,
        reduction="sum",
    )
    return total / normalizer


def _segment_log_probs(logits_BU: Tensor, mask_BU: Tensor, temperature: float) -> Tensor:
    """Log-softmax over the real slots; 0 at the others, whose logits never matter."""
    logits_BU = at_least_float32(logits_BU).masked_fill(~mask_BU, 0.0) / temperature
    lowest = torch.finfo(logits_BU.dtype).min
    log_total_B = logits_BU.masked_fill(~mask_BU, lowest).logsumexp(-1, keepdim=True)
    return (logits_BU - log_total_B).masked_fill(~mask_BU, 0.0)


def _check_slots(mask_BU: Tensor, logits_BU: Tensor) -> None:
    if mask_BU.dtype != torch.bool or mask_BU.shape != logits_BU.shape:
        raise ValueError(
            f"a mask of {mask_BU.dtype} {tuple(mask_BU.shape)} for logits of shape "
            f"{tuple(logits_BU.shape)}: give one bool a slot, True where it is real"
        )
