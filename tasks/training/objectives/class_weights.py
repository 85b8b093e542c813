"""How much an example of each class counts in the hard-label loss.

A class with three training rows among thousands is otherwise learned by chance: the teacher then
tells every student the wrong thing about it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tasks.training.losses import IGNORE_INDEX

ClassWeights = Literal["none", "sqrt", "balanced"]
_CHUNK_ROWS = 1 << 20
_POWERS = {"sqrt": 0.5, "balanced": 1.0}


def class_weights(labels: np.ndarray, *, num_labels: int, kind: ClassWeights) -> Tensor | None:
    """Weights that fall with the frequency of a class and average 1 over the examples (or yeses).

    Args:
        labels: int64, (answers,), IGNORE_INDEX where one has none; (answers, classes) of 0 and 1
            where several may be right.
        num_labels: classes.
        kind: `balanced` divides by the class's frequency, `sqrt` by its root.
    Returns: float32, (classes,), or None for `none`; a class without rows has weight 0. Where
        several may be right it is what a yes counts: every no counts 1.
    References: King & Zeng 2001, "Logistic regression in rare events data", section 4.2.
    """
    if kind == "none":
        return None
    counts = np.zeros(num_labels)
    for start in range(0, len(labels), _CHUNK_ROWS):  # labels may be mapped from a large file
        part = labels[start : start + _CHUNK_ROWS]
        if part.ndim == 2:
            counts += (part == 1).sum(axis=0)
        else:
            counts += np.bincount(part[part != IGNORE_INDEX], minlength=num_labels)
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -_POWERS[kind], 0.0)
    weights *= counts.sum() / max(1e-300, float((weights * counts).sum()))
    return torch.from_numpy(weights.astype(np.float32))
