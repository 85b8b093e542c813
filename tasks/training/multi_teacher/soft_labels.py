"""What several teachers said of the rows of a part, put side by side.

    teacher 1   row a  row b           a  b  c
    teacher 2   row c  row a      ──►  1  1  .     teacher 1 (classes in its own order until here)
                                       2  .  2     teacher 2

All teachers' signals are of one corpus: parts of one name hold the same rows, but for those that a
teacher cannot read.

Shapes: K teachers, N rows of a block, A answers, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.errors import ContractViolation
from tasks.corpus.tables import read_table
from tasks.modeling.heads.units import ranges
from tasks.problems import Problem
from tasks.training.batching.examples import read_labels
from tasks.training.batching.signal_join import class_order
from tasks.training.multi_teacher.averaging import SoftLabels

pc: Any = pyarrow.compute
_ROWS_AT_ONCE = 8192


class Panel:
    """Several teachers of one corpus, asked block by block.

    Attributes:
        folders: of their signals.
        parts: names (role/file) of all parts that any of them has.
    """

    def __init__(self, problem: Problem, folders: Sequence[Path]) -> None:
        """Align the classes of all with those of the first.

        Raises: ContractViolation if a teacher knows other classes.
        """
        self._problem = problem
        self.folders = tuple(folders)
        labels = read_labels(self.folders[0])
        self._orders = [
            list(class_order(folder, labels, reader="first teacher")) for folder in self.folders
        ]
        self.parts = sorted(
            {
                path.relative_to(folder).as_posix()
                for folder in self.folders
                for path in folder.glob("*/*.parquet")
            }
        )

    def blocks(self, part: str) -> Iterator[tuple[pa.Array, SoftLabels]]:
        """Ids and predictions of the rows of a part, one block at least.

        In the order in which the first teacher has them; rows that it has not read come last.
        """
        paths = [folder / part for folder in self.folders]
        tables = [read_table(path) if path.is_file() else None for path in paths]
        ids = pc.unique(
            pa.chunked_array([c for t in tables if t is not None for c in t["example_id"].chunks])
        )
        for start in range(0, max(1, len(ids)), _ROWS_AT_ONCE):
            block = ids[start : start + _ROWS_AT_ONCE]
            yield block, self._side_by_side(block, tables, part)

    def _side_by_side(
        self, ids: pa.Array, tables: Sequence[pa.Table | None], part: str
    ) -> SoftLabels:
        num_labels = len(self._orders[0])
        said: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # rows, logits, answers of each
        for table, order in zip(tables, self._orders, strict=True):
            if table is None:
                table = next(one for one in tables if one is not None).slice(0, 0)
            found = pc.index_in(ids, value_set=table["example_id"].combine_chunks())
            place = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
            rows = np.flatnonzero(place >= 0)
            read = table.take(pa.array(place[rows]))
            logits, counts = self._problem.soft_labels(read, num_labels=num_labels)
            said.append((rows, logits[:, order], counts))
        counts_KN = np.zeros((len(said), len(ids)), dtype=np.int64)
        for counts_N, (rows, _, counts) in zip(counts_KN, said, strict=True):
            counts_N[rows] = counts
        counts_N = counts_KN.max(0, initial=0)
        if self._problem.distribution == "units":
            self._check_same_units(counts_KN, counts_N, part)
        offsets = np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int64)
        logits_KAC = np.zeros((len(said), offsets[-1], num_labels), dtype=np.float32)
        read_KA = np.zeros(logits_KAC.shape[:2], dtype=bool)
        for k, (rows, logits, counts) in enumerate(said):
            answers = ranges(offsets[rows], counts)
            logits_KAC[k, answers] = logits
            read_KA[k, answers] = True
        return SoftLabels(logits_KAC, read_KA, counts_N)

    def _check_same_units(self, counts_KN: np.ndarray, counts_N: np.ndarray, part: str) -> None:
        """A softmax over the units of a context needs all of them from everybody."""
        differs = ((counts_KN > 0) & (counts_KN != counts_N)).any(0)
        if count := int(differs.sum()):
            raise ContractViolation(
                f"teachers disagree on the number of units of {count} contexts of {part}",
                rule="all teachers read the same texts, and so the same units",
                remedy="let all read these rows in the same language (teacher.languages)",
            )
