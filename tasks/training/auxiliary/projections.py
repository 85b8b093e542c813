"""Bridges between a student's narrow hidden states and a teacher's wide ones.

    student layer (…, 192) → Projection → (…, 384) ↔ teacher layer (…, 384)

A projection is trained, clipped and checkpointed with the student, and left out of the exported
student: keep it beside the network that is saved, never inside it.

Shapes: S student width, T teacher width.
"""

from __future__ import annotations

import torch
from torch import nn


class Projection(nn.Linear):
    """A linear map without bias that starts as the identity, cut off or filled with zeros.

    A drawn start would first turn the student's states at random, and undo the start from the
    teacher's layers that students often have. A bias would hide an offset of the states that the
    student should learn itself.

    Args:
        student_width: S, dimensions in.
        teacher_width: T, dimensions out.
    """

    def __init__(self, student_width: int, teacher_width: int) -> None:
        """Start as the identity; draws no random number."""
        with torch.device("meta"):
            super().__init__(student_width, teacher_width, bias=False)
        self.weight = nn.Parameter(torch.eye(teacher_width, student_width))
