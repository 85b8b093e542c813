"""What stays of two texts that are too long together: the same in training and in service.

Numpy alone, because registered models carry it in their script (tasks.serving.bundle.assembly).
"""

from __future__ import annotations

import numpy as np


def longest_first(
    firsts: np.ndarray, seconds: np.ndarray, room: int
) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens of each side stay in `room`: the longer side yields until both are equal.

    A token that is left over goes to the longer side, to the second of equally long ones, as the
    library `tokenizers` does it.
    """
    short, long = np.minimum(firsts, seconds), np.maximum(firsts, seconds)
    half = room // 2
    fits = short + long <= room
    both = short > half
    kept_short = np.where(fits | ~both, short, half)
    kept_long = np.where(fits, long, np.where(both, room - half, room - kept_short))
    swapped = firsts > seconds
    return np.where(swapped, kept_long, kept_short), np.where(swapped, kept_short, kept_long)
