"""The order of an epoch: one permutation of row numbers, sorted by length inside windows.

    permutation   5 0 3 | 1 4 2        four bytes a row, 400 MB for 100 million
    by length     0 5 3 | 4 2 1        sorted in place, window by window
    step k        a slice              steps are then visited in an order of their own

Windows hold whole steps, so a step is a slice of the one array and nothing is held a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np


class EpochOrder(Sequence[np.ndarray]):
    """Row numbers of each step: int64, (batch,); the last step visited may not be the small one."""

    def __init__(
        self, lengths: np.ndarray, rng: np.random.Generator, *, batch_size: int, window_steps: int
    ) -> None:
        """Draw the order.

        Args:
            lengths: tokens of each row; rows of a window are sorted by them.
            rng: decides everything beside the lengths.
            window_steps: steps a window holds; 1 leaves rows in random order.
        """
        num_rows, window = len(lengths), batch_size * window_steps
        # Shuffling draws the same numbers whatever the width of what is shuffled.
        rows = np.arange(num_rows, dtype=np.uint32 if num_rows < 2**32 else np.int64)
        rng.shuffle(rows)
        if window_steps > 1:
            for start in range(0, num_rows, window):
                part = rows[start : start + window]
                part[:] = part[np.argsort(lengths[part], kind="stable")]
        self._rows, self._batch_size = rows, batch_size
        self._steps = rng.permutation(-(-num_rows // batch_size))

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, position: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, position: slice) -> list[np.ndarray]: ...
    def __getitem__(self, position: int | slice) -> np.ndarray | list[np.ndarray]:
        """Rows of the step at `position`; a slice gives a list of steps."""
        if isinstance(position, slice):
            return [self[at] for at in range(*position.indices(len(self)))]
        start = int(self._steps[position]) * self._batch_size
        return self._rows[start : start + self._batch_size].astype(np.int64)
