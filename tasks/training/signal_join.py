"""Teacher logits of training rows: joined by example id, classes aligned by name, part by part.

Tokens and signals of one corpus have parts of the same names with the same rows, so nearly every
row is found in the part of its own part's name, and one part is held at a time. What is not found
there is looked up in all parts, in one pass at the end. Ids are compared as they are, 128 bits in
hexadecimal: no hash stands between a row and its signal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.errors import ContractViolation
from tasks.corpus.tables import read_table

pc: Any = pyarrow.compute
# Beyond so many rows without a signal under their own part's name the signals are of other rows.
_MAX_STRAYS = 1_000_000


class SignalJoin:
    """Signals of one artifact, asked for by part and id."""

    def __init__(self, signals: Path, label_names: Sequence[str]) -> None:
        """Align the classes of `signals` with `label_names`.

        Raises: ContractViolation if the teacher knows other classes.
        """
        path = signals / "labels.json"
        teacher_names = json.loads(path.read_text(encoding="utf-8"))["labels"]
        if set(teacher_names) != set(label_names):
            odd = sorted(set(teacher_names) ^ set(label_names))
            raise ContractViolation(
                f"teacher and student differ in {len(odd)} classes, such as {odd[:3]}",
                rule="both must know the same label names (their order may differ)",
                remedy="use signals of a teacher fine-tuned on this corpus",
            )
        self._signals, self.num_classes = signals, len(teacher_names)
        self._order = [teacher_names.index(name) for name in label_names]
        self._num_rows = self._num_strays = 0
        self._strays: list[tuple[np.ndarray, pa.Array]] = []  # (row numbers, ids)

    def logits(self, part: str, ids: pa.ChunkedArray) -> np.ndarray:
        """Logits of the rows `ids` of the part `part` (role/file), which follow those asked before.

        Returns: float32, (rows, classes); NaN where `strays` must be asked.
        Raises: ContractViolation if a million rows were not found.
        """
        path = self._signals / part
        found = np.full((len(ids), self.num_classes), np.nan, dtype=np.float32)
        missing = np.arange(len(ids))
        if path.is_file():
            positions = self._fill(path, ids, found)
            missing = np.flatnonzero(positions < 0)
        if len(missing):
            self._strays.append((self._num_rows + missing, ids.take(missing).combine_chunks()))
            self._num_strays += len(missing)
        self._num_rows += len(ids)
        if self._num_strays > _MAX_STRAYS:
            raise self._without_signal(self._num_strays)
        return found

    def strays(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers, in the order asked, and logits of the rows that lay in another part.

        Raises: ContractViolation if a row has no signal anywhere.
        """
        rows = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in self._strays)])
        ids = pa.chunked_array([ids for _, ids in self._strays], pa.string())
        found = np.full((len(rows), self.num_classes), np.nan, dtype=np.float32)
        missing = np.ones(len(rows), dtype=bool)
        for path in sorted(self._signals.glob("*/*.parquet")):
            if not missing.any():
                break
            missing &= self._fill(path, ids, found) < 0
        if missing.any():
            raise self._without_signal(int(missing.sum()))
        return rows, found

    def _fill(self, path: Path, ids: pa.ChunkedArray, found: np.ndarray) -> np.ndarray:
        """Put what the part at `path` knows of `ids` into `found`; positions there, -1 for none."""
        table = read_table(path, ["example_id", "logits"])
        known = table["example_id"].combine_chunks()
        positions = pc.index_in(ids, value_set=known)
        positions = pc.fill_null(positions, -1).to_numpy().astype(np.int64)
        here = positions >= 0
        flat = table["logits"].combine_chunks()
        values = np.asarray(flat.flatten(), dtype=np.float32).reshape(-1, self.num_classes)
        found[here] = values[positions[here]][:, self._order]
        return positions

    def _without_signal(self, count: int) -> ContractViolation:
        return ContractViolation(
            f"{count} of {self._num_rows} rows have no teacher signal",
            rule="every row trained on soft targets or pseudo-labels was read by the teacher",
            remedy="give these rows text in a language the teacher reads (parallel_text, or add "
            "theirs to the teacher's languages)",
        )
