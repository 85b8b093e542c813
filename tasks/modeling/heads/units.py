"""Which tokens of a text a head over units reads: plain arrays, without torch.

    text 0   <s> Bar ack Obama </s>     positions 1 3      offsets 0 2 5
    text 1   <s> 打 开 灯 </s>           positions 1 2 3

Shapes: U units of some texts, text after text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.modeling.heads.joined_units import joined_units


@dataclass(frozen=True)
class Units:
    """Units of many texts: those of text i are `offsets[i]` to `offsets[i + 1]`.

    Args:
        offsets: int64, (texts + 1,).
        positions: int32, (units,), number of the token, in its text, at which a unit is read.
    """

    offsets: np.ndarray
    positions: np.ndarray

    @classmethod
    def apart(cls, offsets: np.ndarray) -> Units:
        """Units of which each has a token of its own."""
        return cls(offsets, np.arange(offsets[-1], dtype=np.int32))

    def joined(self) -> np.ndarray:
        """Which units are read at the token of the unit before them: bool, (units,)."""
        return joined_units(self.positions, self.offsets[:-1])

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """Units of each of the texts `rows`, int64."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of the units of the texts `rows`, in the order of `rows`, int64, (U,)."""
        return ranges(self.offsets[rows], self.counts(rows))

    def first(self, most: np.ndarray) -> tuple[Units, np.ndarray]:
        """At most `most[i]` units of text i, and which of all units those are (boolean)."""
        counts = np.diff(self.offsets)
        place = np.arange(len(self.positions)) - np.repeat(self.offsets[:-1], counts)
        kept = place < np.repeat(most, counts)
        offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, most))]).astype(np.int64)
        return Units(offsets, self.positions[kept]), kept


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`starts[i], starts[i] + 1, ...`, `counts[i]` of them, one after the other.

    starts [5 0], counts [2 3]  →  [5 6 0 1 2]
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - counts), counts)
