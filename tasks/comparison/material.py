"""The artifacts of one evaluation as rows, texts and logits joined by example id.

Everything is joined on `example_id`, never by position: teacher and student read different rows of
one corpus in different languages. C is the number of classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.artifacts import Artifact
from data_contracts.errors import ContractViolation
from tasks.corpus.tables import read_table

# Its functions are made when it is imported: a type checker sees none of them.
pc: Any = pyarrow.compute

Reader = Literal["teacher", "student"]
TRAINED_SYSTEMS = ("student", "pseudo_label", "supervised")


@dataclass(frozen=True)
class Material:
    """What is compared.

    Args:
        inputs: artifacts by name: corpus, teacher, teacher_tokens, teacher_signals, student_tokens,
            export, and `<system>_<seed index>` for each trained system.
        source_language: the teacher's test rows are those read in it.
        target_language: the students' test rows are those read in it.
    """

    inputs: Mapping[str, Artifact]
    source_language: str
    target_language: str

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """Class names in index order."""
        return _labels(self.path("student_tokens"))

    def path(self, name: str) -> Path:
        """Directory of an input."""
        return self.inputs[name].path

    def seeds(self, system: str) -> list[Artifact]:
        """Artifacts of a trained system, seed 0 first; empty if it was not trained."""
        found = []
        while (name := f"{system}_{len(found)}") in self.inputs:
            found.append(self.inputs[name])
        return found

    def token_facts(self, reader: Reader) -> dict[str, Any]:
        """`tokens.json` of a reader: padding id and length limit among others."""
        path = self.path(f"{reader}_tokens") / "tokens.json"
        return json.loads(path.read_text(encoding="utf-8"))

    def rows(self, reader: Reader, roles: Sequence[str]) -> pa.Table:
        """example_id, input_ids and label of the rows a reader has in its language, in file order.

        Raises: ContractViolation if there are none.
        """
        language = self.source_language if reader == "teacher" else self.target_language
        folder = self.path(f"{reader}_tokens")
        paths = [path for role in roles for path in sorted((folder / role).glob("*.parquet"))]
        tables = [read_table(path) for path in paths]
        table = pa.concat_tables(tables) if tables else None
        if table is not None:
            table = table.filter(pc.equal(table["language"], language))
        if table is None or not len(table):
            raise ContractViolation(
                f"the {reader} has no {' or '.join(roles)} rows in {language!r}",
                rule="a system is scored on texts in the language it reads",
                remedy=f"add a source in {language!r} with the role {roles[0]!r}, or let "
                "data.splitting make one from labelled rows",
            )
        return table

    def test_rows(self, reader: Reader) -> pa.Table:
        """The labelled test rows of a reader.

        Raises: ContractViolation if there are none.
        """
        table = self.rows(reader, ["test"])
        labelled = table.filter(pc.greater_equal(table["label"], 0))
        if not len(labelled):
            raise ContractViolation(
                f"none of the {len(table)} test rows of the {reader} has a label",
                rule="scores need gold labels",
                remedy="map a label column for the test source",
            )
        return labelled

    def texts(self, reader: Reader, roles: Sequence[str], ids: pa.ChunkedArray) -> list[str]:
        """The texts with these example ids in the reader's language, in the order of `ids`."""
        language = self.source_language if reader == "teacher" else self.target_language
        columns = ["example_id", "text", "language", "parallel_text"]
        folders = [self.path("corpus") / "rows" / role for role in roles]
        paths = [path for folder in folders for path in sorted(folder.glob("*.parquet"))]
        table = pa.concat_tables([read_table(path, columns) for path in paths])
        spoken = pc.equal(table["language"], language)
        texts = pc.if_else(spoken, table["text"], table["parallel_text"])
        found = pc.index_in(ids, value_set=table["example_id"].combine_chunks())
        assert found.null_count == 0, "tokens hold a row that their corpus does not"
        return texts.take(found).to_pylist()

    def teacher_logits(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Teacher logits (rows, C), float32, of these example ids, classes as in `label_names`.

        Raises: ContractViolation if a row has no signal or the classes differ.
        """
        found = pc.index_in(ids, value_set=self._signal_ids)
        if found.null_count:
            raise ContractViolation(
                f"{found.null_count} of {len(ids)} rows have no teacher signal",
                rule="the teacher's answers are read from its signals, by example id",
                remedy="let teacher_signals read the roles transfer and test",
            )
        return self._signals[found.to_numpy()]

    def has_signal(self, ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Boolean mask of the ids the teacher has read."""
        return pc.is_in(ids, value_set=self._signal_ids)

    @cached_property
    def _signal_table(self) -> pa.Table:
        paths = sorted(self.path("teacher_signals").glob("*/*.parquet"))
        return pa.concat_tables([read_table(path) for path in paths])

    @cached_property
    def _signal_ids(self) -> pa.Array:
        return self._signal_table["example_id"].combine_chunks()

    @cached_property
    def _signals(self) -> np.ndarray:
        known = _labels(self.path("teacher_signals"))
        if set(known) != set(self.label_names):
            odd = sorted(set(known) ^ set(self.label_names))
            raise ContractViolation(
                f"teacher and student differ in {len(odd)} classes, such as {odd[:3]}",
                rule="both answer with the same label names (their order may differ)",
                remedy="fine-tune the teacher on this corpus",
            )
        flat = self._signal_table["logits"].combine_chunks().flatten()
        logits = np.asarray(flat, dtype=np.float32).reshape(-1, len(known))
        return logits[:, [known.index(name) for name in self.label_names]]


def _labels(folder: Path) -> tuple[str, ...]:
    return tuple(json.loads((folder / "labels.json").read_text(encoding="utf-8"))["labels"])
