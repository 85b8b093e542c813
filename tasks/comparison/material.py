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
import pyarrow.parquet as pq

from data_contracts.artifacts import Artifact
from data_contracts.errors import ContractViolation
from tasks.corpus.tables import part_paths, read_table
from tasks.corpus.tokens.facts import TokenFacts, read_token_facts

# Its functions are made when it is imported: a type checker sees none of them.
pc: Any = pyarrow.compute

Reader = Literal["teacher", "student"]
TRAINED_SYSTEMS = ("student", "pseudo_label", "no_kd", "zero_shot", "supervised")


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

    def token_facts(self, reader: Reader) -> TokenFacts:
        """Padding id and length limit of a reader, among others."""
        return read_token_facts(self.path(f"{reader}_tokens"))

    def language(self, reader: Reader) -> str:
        """The language a reader is tested in."""
        return self.source_language if reader == "teacher" else self.target_language

    def rows(
        self, reader: Reader, roles: Sequence[str], *, language: str | None = None
    ) -> pa.Table:
        """The tokens of the rows a reader has in a language (its own if None), in file order.

        Raises: ContractViolation if there are none.
        """
        language = language or self.language(reader)
        table = self.find_rows(reader, roles, language=language)
        if table is None:
            raise ContractViolation(
                f"the {reader} has no {' or '.join(roles)} rows in {language!r}",
                rule="a system is scored on texts in the language it reads",
                remedy=f"add a source in {language!r} with the role {roles[0]!r}, or let "
                "data.splitting make one from labelled rows",
            )
        return table

    def find_rows(self, reader: Reader, roles: Sequence[str], *, language: str) -> pa.Table | None:
        """As `rows`, but None if there are none."""
        folder = self.path(f"{reader}_tokens")
        paths = part_paths(folder, roles)
        if not paths:
            return None
        table = pa.concat_tables([read_table(path) for path in paths])
        table = table.filter(pc.equal(table["language"], language))
        return table if len(table) else None

    def test_languages(self, reader: Reader) -> list[str]:
        """The languages of a reader's test rows, sorted."""
        paths = part_paths(self.path(f"{reader}_tokens"), ["test"])
        return sorted(
            {
                one
                for path in paths
                for one in read_table(path, ["language"])["language"].unique().to_pylist()
            }
        )

    def test_rows(self, reader: Reader) -> pa.Table:
        """The test rows of a reader that carry a class (label >= 0).

        Raises: ContractViolation if there are none.
        """
        table = self.rows(reader, ["test"])
        return labelled(table, pc.greater_equal(table["label"], 0), reader)

    def target_rows_of_teacher(self, tests: pa.Table) -> pa.Table | None:
        """The test rows that the teacher read in the *target* language; None if there are none.

        Args:
            tests: the student's test rows: if the teacher read all of them, its rows come in their
                order, so that the two can be compared in pairs.
        """
        if self.source_language == self.target_language:
            return None
        table = self.find_rows("teacher", ["test"], language=self.target_language)
        if table is None:
            return None
        table = table.filter(self.has_signal(table["example_id"]))
        found = pc.index_in(tests["example_id"], value_set=table["example_id"].combine_chunks())
        if found.null_count == 0:
            return table.take(found)
        return table if len(table) else None

    def corpus_rows(
        self, roles: Sequence[str], ids: pa.ChunkedArray, columns: Sequence[str]
    ) -> pa.Table:
        """Columns of the corpus rows with these example ids, in the order of `ids`."""
        paths = part_paths(self.path("corpus") / "rows", roles)
        wanted = ["example_id", *columns]
        table = pa.concat_tables([read_table(path, wanted) for path in paths])
        found = pc.index_in(ids, value_set=table["example_id"].combine_chunks())
        assert found.null_count == 0, "tokens hold a row that their corpus does not"
        return table.take(found)

    def corpus_has(self, column: str) -> bool:
        """Whether the corpus's test rows have this column."""
        paths = part_paths(self.path("corpus") / "rows", ["test"])
        return bool(paths) and column in pq.read_schema(paths[0]).names

    def texts(
        self, reader: Reader, roles: Sequence[str], ids: pa.ChunkedArray, *, column: str = "text"
    ) -> list[str]:
        """The texts with these example ids in the reader's language, in the order of `ids`.

        Args:
            column: `text`, or another text of the row that has a `parallel_` twin.
        """
        columns = [column, "language", f"parallel_{column}"]
        table = self.corpus_rows(roles, ids, columns)
        spoken = pc.equal(table["language"], self.language(reader))
        return pc.if_else(spoken, table[column], table[f"parallel_{column}"]).to_pylist()

    def signals(self, ids: pa.ChunkedArray, columns: Sequence[str]) -> pa.Table:
        """Id and columns of the teacher's signals of these example ids, in their order.

        The signals of a corpus may be many times what fits into memory, and a test set is a small
        share of them: parts without a row asked for stay closed, of the others the columns asked
        for are read, one part after the other.

        Raises: ContractViolation if a row has none.
        """
        found = pc.index_in(ids, value_set=self._signal_ids)
        if found.null_count:
            raise ContractViolation(
                f"{found.null_count} of {len(ids)} rows have no teacher signal",
                rule="the teacher's answers are read from its signals, by example id",
                remedy="let teacher_signals read the roles transfer and test",
            )
        return self._signals_at(np.asarray(found, dtype=np.int64), ["example_id", *columns])

    def teacher_logits(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Teacher logits (rows, C), float32, of these example ids, classes as in `label_names`.

        Raises: ContractViolation if a row has no signal or the classes differ.
        """
        flat = self.signals(ids, ["logits"])["logits"].combine_chunks().flatten()
        logits = np.asarray(flat, dtype=np.float32).reshape(-1, len(self.label_names))
        return logits[:, self.class_order]

    def has_signal(self, ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Boolean mask of the ids the teacher has read."""
        return pc.is_in(ids, value_set=self._signal_ids)

    @cached_property
    def class_order(self) -> list[int]:
        """For each class of `label_names`, its position in the teacher's signals.

        Raises: ContractViolation if the classes differ.
        """
        known = _labels(self.path("teacher_signals"))
        if set(known) != set(self.label_names):
            odd = sorted(set(known) ^ set(self.label_names))
            raise ContractViolation(
                f"teacher and student differ in {len(odd)} classes, such as {odd[:3]}",
                rule="both answer with the same label names (their order may differ)",
                remedy="fine-tune the teacher on this corpus",
            )
        return [known.index(name) for name in self.label_names]

    def _signals_at(self, places: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Columns of the signals at these places in `_signal_ids`, in the order of `places`."""
        needed, order = np.unique(places, return_inverse=True)
        # A filter keeps the pieces of a column; a take joins them, at most 2 GiB of bytes.
        found = [_no_rows(next(iter(self._signal_parts)), columns)]
        start = 0
        for path, ids in self._signal_parts.items():
            first, last = np.searchsorted(needed, [start, start + len(ids)])
            if first < last:
                is_needed = np.zeros(len(ids), dtype=bool)
                is_needed[needed[first:last] - start] = True
                found.append(read_table(path, columns).filter(pa.array(is_needed)))
            start += len(ids)
        return pa.concat_tables(found).take(pa.array(order))

    @cached_property
    def _signal_parts(self) -> dict[Path, pa.ChunkedArray]:
        """The ids in each part of the signals; what was said of them stays on disk."""
        paths = sorted(self.path("teacher_signals").glob("*/*.parquet"))
        return {path: read_table(path, ["example_id"])["example_id"] for path in paths}

    @cached_property
    def _signal_ids(self) -> pa.Array:
        chunks = [chunk for ids in self._signal_parts.values() for chunk in ids.chunks]
        return pa.chunked_array(chunks, pa.string()).combine_chunks()


def is_any(mask: pa.ChunkedArray) -> bool:
    """Whether a mask is true of a row."""
    return pc.any(mask).as_py() is True


def labelled(table: pa.Table, is_labelled: pa.ChunkedArray, reader: Reader) -> pa.Table:
    """The test rows with a right answer.

    Raises: ContractViolation if there are none.
    """
    found = table.filter(is_labelled)
    if not len(found):
        raise ContractViolation(
            f"none of the {len(table)} test rows of the {reader} has a label",
            rule="scores need gold labels",
            remedy="map a label column for the test source",
        )
    return found


def _no_rows(path: Path, columns: Sequence[str]) -> pa.Table:
    return pq.read_schema(path).empty_table().select(list(columns))


def _labels(folder: Path) -> tuple[str, ...]:
    return tuple(json.loads((folder / "labels.json").read_text(encoding="utf-8"))["labels"])
