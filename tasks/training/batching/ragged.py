"""Token ids of many texts in one buffer, and where each text lies in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class RaggedIds:
    """Token ids of many texts: text i is `values[offsets[i]:offsets[i + 1]]`.

    Args:
        values: int32 or uint16, (tokens,).
        offsets: int64, (texts + 1,).
        stored_lengths: int32, (texts,), if they need not be computed from the offsets.
    """

    values: np.ndarray
    offsets: np.ndarray
    stored_lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, int64 or int32, (texts,)."""
        return np.diff(self.offsets) if self.stored_lengths is None else self.stored_lengths

    def first_equals(self) -> np.ndarray:
        """For each text the first one of the same tokens, itself perhaps: int64, (texts,)."""
        first: dict[bytes, int] = {}
        bounds = pairwise(self.offsets.tolist())
        texts = (self.values[start:stop].tobytes() for start, stop in bounds)
        found = (first.setdefault(text, row) for row, text in enumerate(texts))
        return np.fromiter(found, np.int64, len(self))

    @classmethod
    def from_arrow(cls, column: pa.ChunkedArray | pa.Array) -> RaggedIds:
        """View an Arrow list column, copying only to join its chunks."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps zero chunks apart
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
        offsets = np.asarray(array.offsets, dtype=np.int64)
        values = np.asarray(array.values, dtype=np.int32)
        return cls(values, offsets)
