"""What all losses share: which positions count, at which precision, and what is refused.

Masked positions are cleared before anything is computed, not after: multiplying by 0 afterwards
keeps a NaN a NaN, in the loss or in its gradient.

Shapes: B positions, one axis or several (texts, units or tokens); D whatever a position holds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

_Given = ParamSpec("_Given")


def at_least_float32(values: Tensor) -> Tensor:
    """`values` in float32, or in float64 if they are that already."""
    return values if values.dtype == torch.float64 else values.float()


def constant(teacher: Tensor) -> Tensor:
    """The teacher's side of a loss: no gradient flows into it.

    What `torch.inference_mode` made cannot be saved for a backward pass, so it is copied; compiled
    code cannot ask, and whoever calls it gives none.
    """
    if torch.compiler.is_compiling():
        return teacher.detach()
    return teacher.clone() if teacher.is_inference() else teacher.detach()


def cleared(values_BD: Tensor, mask_B: Tensor | None) -> Tensor:
    """`values` at least in float32, with zeros at masked positions and no gradient through them."""
    values_BD = at_least_float32(values_BD)
    if mask_B is None:
        return values_BD
    trailing = values_BD.dim() - mask_B.dim()
    return values_BD.masked_fill(~mask_B.reshape(*mask_B.shape, *([1] * trailing)), 0.0)


def valid_sum(values_B: Tensor, mask_B: Tensor | None) -> Tensor:
    """Sum over the positions that count, and over whatever axes follow them."""
    return cleared(values_B, mask_B).sum()


def num_valid(mask_B: Tensor | None, values_BD: Tensor) -> Tensor | int:
    """How many positions count; all of the first axis if there is no mask."""
    return len(values_BD) if mask_B is None else mask_B.sum()


def softened_log_probs(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Checked log-probabilities of student and teacher at `temperature`, over the last axis."""
    check_same_shape(student_logits_BC, teacher_logits_BC)
    check_mask(mask_B, student_logits_BC)
    check_temperature(temperature)
    student = F.log_softmax(cleared(student_logits_BC, mask_B) / temperature, dim=-1)
    teacher = F.log_softmax(cleared(constant(teacher_logits_BC), mask_B) / temperature, dim=-1)
    return student, teacher


def check_same_shape(student: Tensor, teacher: Tensor, *, what: str = "logits") -> None:
    """Refuse what would be broadcast: every row would learn from the first teacher row.

    Raises: ValueError if the shapes differ.
    """
    if student.shape != teacher.shape:
        remedy = (
            "align the classes by name first"
            if what == "logits"
            else "give both the same positions, and bridge widths by a projection"
        )
        raise ValueError(
            f"student {what} {tuple(student.shape)} and teacher {what} {tuple(teacher.shape)} "
            f"differ in shape: {remedy}"
        )


def check_mask(mask_B: Tensor | None, values_BD: Tensor) -> None:
    """Refuse masks that are not one bool a position.

    Raises: ValueError if the mask is no bool tensor over leading axes of `values_BD`.
    """
    if mask_B is None:
        return
    if mask_B.dtype != torch.bool:
        raise ValueError(f"the mask is {mask_B.dtype}: give bool, True where a position counts")
    if mask_B.shape != values_BD.shape[: mask_B.dim()] or mask_B.dim() != values_BD.dim() - 1:
        raise ValueError(
            f"a mask of shape {tuple(mask_B.shape)} for values of shape {tuple(values_BD.shape)}: "
            "one entry a position, so all axes but the last"
        )


def check_temperature(temperature: float) -> None:
    """Refuse what cannot divide.

    Raises: ValueError if `temperature` is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it divides the logits and must be > 0")


def full_precision(loss: Callable[_Given, Tensor]) -> Callable[_Given, Tensor]:
    """`loss` with autocast off: it would take the matrix products inside back to 16 bits."""

    @functools.wraps(loss)
    def computed(*args: _Given.args, **kwargs: _Given.kwargs) -> Tensor:
        tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(next(tensors).device.type, enabled=False):
            return loss(*args, **kwargs)

    return computed
