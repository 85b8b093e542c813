"""What every reader of a source hands on: rows as columns, and the rows it could not read.

The rules that all formats share are here: what a cell may be, and how large. A broken row is data,
noted as `Rejected` with its line; it is never raised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from data_contracts.errors import SourceError
from tasks.corpus.quarantine import Rejected
from tasks.corpus.readers.row_choice import EVERY_ROW, RowFilter

BATCH_ROWS = 8192
"""Rows a batch holds: the unit in which sources are read and prepared."""

MAX_CELL_BYTES = 1 << 20
MAX_COLUMNS = 256

ColumnMapping = Mapping[str, str]
"""What is wanted -> column of the file: `text`, `label`, ... as `Columns` names them."""

_PLAIN = ("text", "label", "parallel_text")
STRUCTURED = frozenset({"answers", "labels", "spans", "tags", "words"})
"""Wanted cells that may be lists or records."""
_MAX_DEPTH = 4


class RawRow(NamedTuple):
    """The cells of one row as its file has them; `others` by what they are wanted for."""

    text: str
    label: str | None
    parallel_text: str | None
    others: Mapping[str, Any]


@dataclass
class RawBatch:
    """Rows of one file in order: the readable ones as columns, the others as rejections.

    Args:
        where: rows that it lets pass are taken, others counted in `num_not_taken` alone.
        num_admitted: rows that are known to be the source's, by `where`, before any are drawn; a
            line that cannot be parted into cells is none of them.
    """

    where: RowFilter = EVERY_ROW
    num_not_taken: int = 0
    num_admitted: int = 0
    lines: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    parallel_texts: list[str | None] = field(default_factory=list)
    others: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        """Rows of the source, readable or not."""
        return len(self.lines) + len(self.rejected)

    def reject(
        self,
        line: int,
        reason: str,
        detail: str,
        raw: str | bytes | None,
        label: object = None,
    ) -> None:
        """Note a row that cannot be read, with its label if that is one."""
        self.rejected.append(Rejected(line, reason, detail, raw, _readable_label(label)))

    def rows(self) -> Iterator[tuple[int, RawRow]]:
        """The readable rows with their lines."""
        others = list(self.others.items())
        plain = zip(self.texts, self.labels, self.parallel_texts, strict=True)
        for place, (line, row) in enumerate(zip(self.lines, plain, strict=True)):
            yield line, RawRow(*row, {key: values[place] for key, values in others})

    def only(self, lines: Collection[int]) -> RawBatch:
        """The rows of these lines; those of other lines are not taken."""
        places = [place for place, line in enumerate(self.lines) if line in lines]
        rejected = [one for one in self.rejected if one.line in lines]
        return RawBatch(
            num_not_taken=self.num_not_taken + self.num_rows - len(places) - len(rejected),
            num_admitted=self.num_admitted,
            lines=[self.lines[place] for place in places],
            texts=[self.texts[place] for place in places],
            labels=[self.labels[place] for place in places],
            parallel_texts=[self.parallel_texts[place] for place in places],
            others={
                key: [values[place] for place in places] for key, values in self.others.items()
            },
            rejected=rejected,
        )

    def add(self, line: int, cells: Mapping[str, Any]) -> None:
        """Take the row if its cells are what they should be, otherwise note why not.

        A row has a text, or words in its place; the words then stand for it in the quarantine.
        """
        if not self.where.admits(cells):
            self.num_not_taken += 1
            return None
        self.num_admitted += 1
        cells = self.where.without_own(cells)
        text, label, parallel = (cells.get(key) for key in _PLAIN)
        if "words" in cells:
            words = cells["words"]
            text = " ".join(map(str, words)) if isinstance(words, list) else words
        raw = text if isinstance(text, str) else None
        if text is None:
            return self.reject(line, "missing_text", "the text is null or absent", None, label)
        if type(label) is int:
            label = str(label)
        for name, value in (("text", text), ("label", label), ("parallel_text", parallel)):
            if value is None:
                continue
            if not isinstance(value, str):
                kind = type(value).__name__
                return self.reject(line, "wrong_type", f"{name} is of type {kind}", raw, label)
            if problem := _cell_problem(name, value):
                return self.reject(line, *problem, raw, label)
        others = {key: value for key, value in cells.items() if key not in _PLAIN}
        for name, value in others.items():
            if problem := _other_problem(name, value):
                return self.reject(line, *problem, raw, label)
        for name, value in others.items():
            self.others[name].append(value)
        self.lines.append(line)
        self.texts.append(text)
        self.labels.append(label if isinstance(label, str) else None)
        self.parallel_texts.append(parallel)
        return None


def _readable_label(label: object) -> str | None:
    if type(label) is int:
        return str(label)
    return label if isinstance(label, str) and not _cell_problem("label", label) else None


def _cell_problem(name: str, value: str) -> tuple[str, str] | None:
    if "\0" in value:
        return "nul_character", f"{name} holds a NUL character"
    if value.isascii():
        num_bytes = len(value)
    else:
        try:
            num_bytes = len(value.encode())
        except UnicodeEncodeError:
            return "invalid_unicode", f"{name} holds half of a surrogate pair"
    if num_bytes > MAX_CELL_BYTES:
        return "oversize_cell", f"{name} has {num_bytes:,} bytes, at most {MAX_CELL_BYTES:,}"
    return None


def _other_problem(name: str, value: Any) -> tuple[str, str] | None:
    """What is wrong with a cell that is neither text, label nor parallel text."""
    if value is None or type(value) is int or (name == "score" and type(value) is float):
        return None
    if isinstance(value, str):
        return _cell_problem(name, value)
    if name not in STRUCTURED or not isinstance(value, list | dict):
        return "wrong_type", f"{name} is of type {type(value).__name__}"
    waiting, depth, num_characters = [value], 0, 0
    while waiting:
        strings = [item for item in waiting if isinstance(item, str)]
        num_characters += sum(map(len, strings)) + len(waiting)
        if depth > _MAX_DEPTH or num_characters > MAX_CELL_BYTES:
            return "oversize_cell", f"{name} holds more than {MAX_CELL_BYTES:,} bytes"
        problems = (_cell_problem(name, item) for item in strings)
        if problem := next(filter(None, problems), None):
            return problem
        waiting = [
            inner
            for item in waiting
            if isinstance(item, list | dict)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        depth += 1
    return None


def no_column(path: Path, column: str, existing: Sequence[str]) -> SourceError:
    """The error for a mapped column that is missing, or there more than once."""
    count = list(existing).count(column)
    fact = f"has the column {column!r} {count} times" if count else f"has no column {column!r}"
    return SourceError(
        f"{path.name} {fact}",
        rule=f"its columns are: {', '.join(existing)}",
        remedy="name one of these: by `columns` (or `where`) of this source in a recipe, by "
        "--text-column and the like for decant score",
    )
