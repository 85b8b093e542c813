"""Teacher signals of training rows: joined by example id, part by part.

Tokens and signals of one corpus have parts of the same names with the same rows, so nearly every
row is found in the part of its own part's name, and one part is held at a time. What is not found
there is looked up in all parts. Ids are compared as they are, 128 bits in hexadecimal: no hash
stands between a row and its signal. Of texts that are read in windows, the number of the window is
part of the key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.artifacts import THRESHOLDS_FILE
from data_contracts.errors import ContractViolation
from tasks.corpus.tables import read_table

pc: Any = pyarrow.compute


def class_order(
    signals: Path, label_names: Sequence[str], *, reader: str = "student"
) -> tuple[int, ...]:
    """For each of `label_names` its number among the classes of an artifact of signals.

    Args:
        reader: who has the names, for the message.
    Raises: ContractViolation if the teacher knows other classes.
    """
    path = signals / "labels.json"
    teacher_names = json.loads(path.read_text(encoding="utf-8"))["labels"]
    if set(teacher_names) != set(label_names):
        odd = sorted(set(teacher_names) ^ set(label_names))
        raise ContractViolation(
            f"teacher and {reader} differ in {len(odd)} classes, such as {odd[:3]}",
            rule="both must know the same label names (their order may differ)",
            remedy="use signals of a teacher fine-tuned on this corpus",
        )
    return tuple(teacher_names.index(name) for name in label_names)


class SignalJoin:
    """Signals of one artifact, asked for by part and id.

    Attributes:
        order: for each class of the reader its number in the signals.
        thresholds: at which the teacher decides, classes in the reader's order; empty if it has
            none.
    """

    def __init__(
        self, signals: Path, label_names: Sequence[str], *, key: Sequence[str] = ("example_id",)
    ) -> None:
        """Align the classes of `signals` with `label_names`.

        Args:
            key: columns that tell the rows apart.
        Raises: ContractViolation if the teacher knows other classes.
        """
        self._signals, self._key = signals, tuple(key)
        self.order = class_order(signals, label_names)
        self.thresholds: dict[str, Any] = {}
        if (path := signals / THRESHOLDS_FILE).is_file():
            self.thresholds = json.loads(path.read_text(encoding="utf-8"))
            if "thresholds" in self.thresholds:
                of_classes = np.array(self.thresholds["thresholds"], np.float64)
                self.thresholds["thresholds"] = of_classes[list(self.order)]

    def rows(self, part: str, table: pa.Table) -> pa.Table:
        """The signals of the rows of `table`, of the part `part` (role/file), in their order.

        Raises: ContractViolation if a row has no signal anywhere.
        """
        found: list[pa.Table] = []
        ids = self._keys(table)
        place = np.full(len(ids), -1, dtype=np.int64)  # of each row in what was found
        others = [path for path in sorted(self._signals.glob("*/*.parquet"))]
        own = self._signals / part
        for path in ([own] if own.is_file() else []) + [one for one in others if one != own]:
            missing = np.flatnonzero(place < 0)
            if not len(missing):
                break
            theirs = _wide(read_table(path))
            wanted = ids.take(pa.array(missing))
            known = pc.index_in(wanted, value_set=self._keys(theirs))
            position = pc.fill_null(known, -1).to_numpy().astype(np.int64)
            here = position >= 0
            if here.any():
                start = sum(map(len, found))
                place[missing[here]] = start + np.arange(int(here.sum()))
                found.append(theirs.take(pa.array(position[here])))
        if missing := int((place < 0).sum()):
            raise ContractViolation(
                f"{missing} of {len(ids)} rows of {part} have no teacher signal",
                rule="every row trained on soft targets or pseudo-labels was read by the teacher",
                remedy="give these rows text in a language the teacher reads (parallel_text, or "
                "add theirs to the teacher's languages)",
            )
        if len(found) == 1:  # in the order of `table` already: no second copy of gigabytes
            return found[0]
        return pa.concat_tables(found).take(pa.array(place))

    def _keys(self, table: pa.Table) -> pa.Array:
        columns = [pc.cast(table[name].combine_chunks(), pa.string()) for name in self._key]
        return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, "/")


def _wide(table: pa.Table) -> pa.Table:
    """`table` with bytes counted in 64 bits: of 32 bits a column joined by a take holds 2 GiB."""
    kinds = {pa.binary(): pa.large_binary()}
    fields = [field.with_type(kinds.get(field.type, field.type)) for field in table.schema]
    return table.cast(pa.schema(fields))
