"""Flat files of numbers: what mapped examples are written to, array after array.

files.put("offsets", [0])   files.put("offsets", [3, 5])   ─►   offsets.bin: 0 3 5
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np


class FlatFiles:
    """Files of one folder, each opened when first written to and closed with the block."""

    def __init__(self, folder: Path) -> None:
        """Write to `folder`, which must exist."""
        self._folder = folder
        self._open: dict[str, BinaryIO] = {}

    def put(self, name: str, values: np.ndarray) -> None:
        """Append the bytes of `values`, in their own dtype, to `<name>.bin`."""
        if name not in self._open:
            self._open[name] = (self._folder / f"{name}.bin").open("wb")
        self._open[name].write(np.ascontiguousarray(values).data)

    def __enter__(self) -> FlatFiles:
        """The files themselves."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close what was opened."""
        for file in self._open.values():
            file.close()
