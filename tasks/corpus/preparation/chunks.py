"""Prepared rows on disk while the corpus is made: pieces of each file of each source, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.errors import SourceError
from tasks.corpus.changes import Changes
from tasks.corpus.quarantine import Rejected, write_quarantine
from tasks.corpus.rows.kind import RowKind
from tasks.corpus.selection.ledger import (
    OUTCOMES,
    QUARANTINE_REASONS,
    ROLES,
    TRAIN,
    Ledger,
    Verdicts,
)
from tasks.corpus.selection.selection import Piece
from tasks.corpus.sources.files import SourceFile, no_rows, none_taken
from tasks.corpus.sources.source import FileSource
from tasks.corpus.tables import read_table, write_table

if TYPE_CHECKING:
    from tasks.corpus.sources.source import Source

pc: Any = pyarrow.compute


@dataclass
class IngestedFile:
    """What is known of one file of a source while it is ingested.

    Args:
        num_rows: rows that were taken from it, whatever became of them.
        num_not_taken: those that `where` and `max_rows` of the source left.
        num_admitted: those that `where` let pass; a line without cells is none of them.
    """

    source: Source
    origin: SourceFile
    pieces: list[Path] = field(default_factory=list)
    num_rows: int = 0
    num_not_taken: int = 0
    num_admitted: int = 0
    quarantine: list[Path] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)

    def set_aside(self, rows: pa.Table, path: Path) -> None:
        """Keep rows of the quarantine at `path` until they are sorted."""
        if rows.num_rows:
            write_table(rows, path)
            self.quarantine.append(path)


def check_rows_found(files: Sequence[IngestedFile]) -> None:
    """Refuse a file without rows, or a source whose `where` lets none of all its files pass.

    Raises: SourceError.
    """
    for source, group in groupby(files, key=lambda file: file.source):
        own = list(group)
        num_left = sum(file.num_not_taken for file in own)
        num_admitted = sum(file.num_admitted for file in own)
        if isinstance(source, FileSource) and source.where and num_left and not num_admitted:
            raise none_taken(source, [file.origin for file in own])
        for file in own:
            if not file.num_rows and not file.num_not_taken:
                raise no_rows(file.origin)


def check_some_passed(files: Sequence[IngestedFile], folder: Path, table: Path) -> None:
    """Refuse a source of which each row was set aside by itself, before another misses its rows.

    Args:
        folder: where the quarantine is written then.
        table: a copy of it, for the message.

    Raises: SourceError with the numbers and the reasons.
    """
    for source, group in groupby(files, key=lambda file: file.source):
        own = list(group)
        if any(file.pieces for file in own):
            continue
        write_quarantine(
            [(file.origin.label, file.quarantine) for file in files], folder, copy=table
        )
        reasons: Counter[str] = Counter()
        details: dict[str, str] = {}
        for path in (path for file in own for path in file.quarantine):
            for row in read_table(path, ["reason", "detail"]).to_pylist():
                reasons[row["reason"]] += 1
                details.setdefault(row["reason"], row["detail"])
        said = "; ".join(f"{one} {n:,} ({details[one]})" for one, n in reasons.most_common(3))
        raise SourceError(
            f"all {reasons.total():,} rows of source {source.name!r} were set aside: {said}",
            rule="a source has rows that every rule lets pass",
            remedy=f"look at {table}, which lists each row with source, line and reason; then "
            "correct the source or the rule",
        )


def removed_characters(files: Sequence[IngestedFile]) -> dict[str, int]:
    """Characters that normalising took out of all texts, by kind."""
    removed = sum((file.changes.removed for file in files), start=Counter[str]())
    return dict(sorted(removed.items()))


def iter_pieces(
    files: Sequence[IngestedFile], columns: Sequence[str] | None = None
) -> Iterator[tuple[IngestedFile, int, pa.Table]]:
    """(file, number of the first row, rows) of every piece in order."""
    start = 0
    for file in files:
        for path in file.pieces:
            table = read_table(path, columns)
            yield file, start, table
            start += table.num_rows


def rejections(
    table: pa.Table, start: int, outcomes: np.ndarray, details: Mapping[int, str]
) -> Iterator[Rejected]:
    """The rows of a piece that all rows together speak against."""
    reasons = [OUTCOMES.index(reason) for reason in QUARANTINE_REASONS]
    places = np.flatnonzero(np.isin(outcomes, reasons))
    for place, row in zip(places.tolist(), table.take(places).to_pylist(), strict=True):
        raw = row["raw_text"] if row["raw_text"] is not None else row["text"]
        yield Rejected(row["line"], OUTCOMES[outcomes[place]], details.get(start + place, ""), raw)


def read_texts(
    files: Sequence[IngestedFile], kind: RowKind, target_language: str
) -> Iterator[Piece]:
    """What near copies and leaks are judged by, of all rows in order."""
    for file, start, table in iter_pieces(files, kind.compared_columns):
        texts, seconds = kind.compared(table)
        source = file.source
        yield Piece(
            start, source.language, texts, kind.second_language(source, target_language), seconds
        )


def set_aside_unknown_names(
    files: Sequence[IngestedFile], kind: RowKind, rows: Ledger, verdicts: Verdicts, *, fixed: bool
) -> set[str]:
    """The class names in lists of the train rows; rows with others lose their place.

    Args:
        fixed: the recipe lists the names, and each row was held to them.
    """
    column = kind.names_column
    assert column is not None
    known: set[str] = set()
    for _, start, table in iter_pieces(files, [column]):
        span = slice(start, start + table.num_rows)
        train = verdicts.kept(span) & (rows.role[span] == TRAIN)
        known.update(pc.unique(pc.list_flatten(table[column].filter(train))).to_pylist())
    if fixed:
        return known
    names = pa.array(sorted(known), pa.string())
    for _, start, table in iter_pieces(files, [column]):
        span = slice(start, start + table.num_rows)
        lists = table[column].combine_chunks()
        unknown = pc.invert(pc.is_in(pc.list_flatten(lists), names))
        places = np.unique(pc.list_parent_indices(lists).filter(unknown).to_numpy())
        places = places[verdicts.kept(span)[places]]
        if len(places):
            details = [_unknown(lists[place].as_py(), known) for place in places.tolist()]
            verdicts.put(start + places, kind.unknown_reason, details)
    return known


def _unknown(names: Sequence[str], known: set[str]) -> str:
    return f"no {ROLES[TRAIN]} row has {min(name for name in names if name not in known)!r}"
