"""Sentence embeddings: texts at the teacher's place, and contrast within a pass.

Shapes: B texts, D width (the student's embeddings projected to the teacher's, if they differ).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses.positions import (
    check_mask,
    check_same_shape,
    cleared,
    constant,
    full_precision,
)


@full_precision
def embedding_distance_loss(
    student_embeddings_BD: Tensor,
    teacher_embeddings_BD: Tensor,
    mask_B: Tensor | None = None,
    *,
    normalizer: float | Tensor,
) -> Tensor:
    """Squared distance of the student's vector of a text from the teacher's.

    Summed over the width, so that it does not shrink with it: D times the mean squared error of
    equation 1, and 2 - 2 cos of vectors of unit length. A translation pair are two rows with one
    teacher vector, that of the source: then this is D times the mean over both columns, which is
    Sentence Transformers' MSELoss.

    Args:
        student_embeddings_BD, teacher_embeddings_BD: float, (texts, width).
        mask_B: bool, (texts,): which of them count; all if not given.
        normalizer: number of valid texts in the whole step.
    Returns: scalar, a text.
    Raises: ValueError if the shapes differ.
    References: Reimers & Gurevych 2020, arXiv:2004.09813, equation 1.
    """
    check_same_shape(student_embeddings_BD, teacher_embeddings_BD, what="embeddings")
    check_mask(mask_B, student_embeddings_BD)
    student = cleared(student_embeddings_BD, mask_B)
    return (student - cleared(constant(teacher_embeddings_BD), mask_B)).square().sum() / normalizer


@full_precision
def contrastive_loss(
    student_embeddings_BD: Tensor,
    teacher_embeddings_BD: Tensor,
    mask_B: Tensor | None = None,
    *,
    normalizer: float | Tensor,
    similarity_temperature: float = 0.05,
) -> Tensor:
    """InfoNCE: which of the pass's teacher embeddings belongs to this student embedding?

    The loss grows with the texts of a pass (log B for a blind guess), and copies of a text within a
    pass count as mistakes: give passes of one size and different texts.

    Args:
        student_embeddings_BD, teacher_embeddings_BD: float, (texts, width); normalized here.
        mask_B: bool, (texts,): which of them count, as questions and as answers.
        normalizer: number of valid texts in the whole step.
        similarity_temperature: > 0, divides cosines. It softens no distribution that is matched,
            so that its square has no place here.
    Returns: scalar, nats per text.
    Raises: ValueError if the shapes differ or the temperature is not positive.
    References: van den Oord et al. 2018, arXiv:1807.03748, equation 4; Tian et al. 2020,
        arXiv:1910.10699 (teacher and student as the two views). There, and in torchdistill's
        CRDLoss, thousands of wrong answers come from a memory bank of all training texts, the loss
        is NCE over them, and both sides pass a trained layer first; the bank is state as large as
        the data, and holds vectors of weights long gone. Here wrong answers are the pass's own, so
        the two losses have no value in common.
    """
    check_same_shape(student_embeddings_BD, teacher_embeddings_BD, what="embeddings")
    check_mask(mask_B, student_embeddings_BD)
    if not similarity_temperature > 0:
        raise ValueError(f"similarity_temperature is {similarity_temperature}: it must be > 0")
    student = F.normalize(cleared(student_embeddings_BD, mask_B), dim=-1)
    teacher = F.normalize(cleared(constant(teacher_embeddings_BD), mask_B), dim=-1)
    similarities_BB = student @ teacher.T / similarity_temperature
    if mask_B is not None:
        lowest = torch.finfo(similarities_BB.dtype).min
        similarities_BB = similarities_BB.masked_fill(~mask_B.unsqueeze(0), lowest)
    right_B = similarities_BB.diagonal() - similarities_BB.logsumexp(-1)
    return -cleared(right_B, mask_B).sum() / normalizer
