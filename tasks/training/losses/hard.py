"""Cross-entropy with class indices: gold labels, pseudo-labels, and texts that a teacher wrote.

Sequence-level distillation (Kim & Rush 2016, arXiv:1606.07947) is this loss over the tokens of the
teacher's translations.

Shapes: B positions, one axis or several (texts, units or tokens); C classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses.positions import at_least_float32

IGNORE_INDEX = -1


def hard_label_loss(
    logits_BC: Tensor,
    labels_B: Tensor,
    *,
    normalizer: float | Tensor,
    label_smoothing: float = 0.0,
    class_weights_C: Tensor | None = None,
) -> Tensor:
    """Cross-entropy with class indices; positions labelled IGNORE_INDEX add nothing.

    Args:
        logits_BC: float, (positions, classes), unnormalized.
        labels_B: int64, (positions), in [0, classes) or IGNORE_INDEX.
        normalizer: number of labelled positions in the whole step.
        label_smoothing: share of the target mass spread evenly over all classes, in [0, 1).
        class_weights_C: float, (classes,): what a position of each class counts; 1 if not given.
    Returns: scalar, nats per labelled position.
    Raises: ValueError if the positions differ.
    References: Szegedy et al. 2016, arXiv:1512.00567, section 7 (label smoothing).
    """
    if logits_BC.shape[:-1] != labels_B.shape:
        raise ValueError(f"{tuple(logits_BC.shape)} logits for {tuple(labels_B.shape)} labels")
    logits_BC = at_least_float32(logits_BC)
    total = F.cross_entropy(
        logits_BC.flatten(end_dim=-2),
        labels_B.flatten(),
        ignore_index=IGNORE_INDEX,
        reduction="sum",
        label_smoothing=label_smoothing,
        weight=None if class_weights_C is None else class_weights_C.to(logits_BC),
    )
    return total / normalizer
