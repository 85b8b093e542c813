"""CSV, TSV and JSON lines, streamed: what is broken is told with its line, never raised.

Line numbers are those an editor shows (the header is line 1). A file that cannot be what it is said
to be (no such column, UTF-16, compressed) is the user's mistake and raises; a broken row is data.
Memory is bounded: lines beyond 4 MiB are skipped without being held.
"""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_contracts.errors import SourceError
from tasks.corpus.readers.raw_rows import (
    BATCH_ROWS,
    MAX_COLUMNS,
    ColumnMapping,
    RawBatch,
    no_column,
)
from tasks.corpus.readers.record_fields import ObjectCells
from tasks.corpus.readers.row_choice import EVERY_ROW, RowFilter

MAX_LINE_BYTES = 4 << 20
# A quoted cell may span lines; a quote that never ends must not swallow the rest of the file.
_MAX_LINES_PER_RECORD = 64
_KEPT = frozenset({"text", "label"})


def read_delimited(
    path: Path, columns: ColumnMapping, where: RowFilter = EVERY_ROW, *, delimiter: str
) -> Iterator[RawBatch]:
    """Rows of a CSV (`,`) or TSV (tab) file with a header, quoted as RFC 4180 says.

    A quote that does not end costs its own line only. In TSV, where many writers do not quote at
    all, a line whose quotes do not add up is read literally, unless lines after it complete a
    record of which at most one line is a row by itself:

        a<tab>"one          a record of two lines       a<tab>"one          two rows, with quotes
        two"                whose text is one, two      b<tab>two"

    Raises: SourceError if the header lacks a mapped column, or the file is not UTF-8 text.
    """
    # Process-wide, but only ever raised: cells up to our own limit must get through to it.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    lines = Lines(path)
    header = _header(path, lines, delimiter)
    wanted = {**columns, **where.columns}
    positions = {key: _position(path, header, column) for key, column in wanted.items()}
    batch = RawBatch(where)
    for number, line in lines:
        cells = _record(lines, number, line, delimiter, len(header), batch)
        if cells is not None:
            # CSV has no null: an empty cell means that there is none. What it means for a label
            # the kind of row knows: no class, or that of several classes none holds.
            row = {key: cells[position] for key, position in positions.items()}
            batch.add(number, {key: v if key in _KEPT else v or None for key, v in row.items()})
        if batch.num_rows >= BATCH_ROWS:
            yield batch
            batch = RawBatch(where)
    yield batch


def _record(
    lines: Lines, number: int, line: bytes | None, delimiter: str, width: int, batch: RawBatch
) -> list[str] | None:
    """The cells of the record that begins at `line`, or None after noting why it has none."""
    text = _decoded(number, line, batch)
    if text is None:
        return None
    cells: list[str] | None
    if '"' not in text:
        cells = text.split(delimiter)
    else:
        cells = _parsed(text, delimiter)
        if cells is None:
            cells = _spanning(lines, text, delimiter, width)
        if cells is None and delimiter == "\t":
            cells = text.split(delimiter)
        if cells is None:
            batch.reject(number, "broken_quotes", "quotes do not close where a cell ends", text)
            return None
    if len(cells) != width:
        detail = f"{len(cells)} cells, the header has {width}"
        batch.reject(number, "wrong_column_count", detail, text)
        return None
    return cells


def _parsed(text: str, delimiter: str) -> list[str] | None:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _spanning(lines: Lines, text: str, delimiter: str, width: int) -> list[str] | None:
    """The record if following lines complete it to exactly `width` cells; they are then used up.

    None also where two lines of a TSV are rows by themselves: their writer did not quote.
    """
    joined, num_rows = text, text.count(delimiter) + 1 == width
    for count in range(1, _MAX_LINES_PER_RECORD):
        following = lines.peek(count)
        if following is None or len(joined) > MAX_LINE_BYTES:
            return None
        try:
            piece = following.decode()
        except UnicodeDecodeError:
            return None
        joined += "\n" + piece
        num_rows += piece.count(delimiter) + 1 == width
        if delimiter == "\t" and num_rows > 1:
            return None
        if '"' in piece:
            cells = _parsed(joined, delimiter)
            if cells is not None:
                if len(cells) != width:
                    return None
                lines.skip(count)
                return cells
    return None


def _header(path: Path, lines: Lines, delimiter: str) -> list[str]:
    for _, line in lines:
        if line and line.strip():
            if b"\0" in line:
                raise _not_utf8(path)
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(path) from error
            header = _parsed(text, delimiter) or text.split(delimiter)
            if len(header) > MAX_COLUMNS:
                raise SourceError(
                    f"{path.name} has {len(header):,} columns",
                    rule=f"at most {MAX_COLUMNS} are read",
                    remedy="write a file with the columns that are needed",
                )
            return [name.strip() for name in header]
    raise SourceError(
        f"{path.name} is empty",
        rule="the first line names the columns",
        remedy="check how the file was written",
    )


def _position(path: Path, header: Sequence[str], column: str) -> int:
    if header.count(column) != 1:
        if len(header) == 1 and any(separator in header[0] for separator in ",;\t|"):
            raise SourceError(
                f"{path.name} has no column {column!r}: its header is one cell, {header[0]!r}",
                rule="cells of the format csv end at a comma, those of tsv at a tab",
                remedy="correct the source's format, or write the file with one of these "
                "separators",
            )
        raise no_column(path, column, header)
    return header.index(column)


def read_jsonl(
    path: Path, columns: ColumnMapping, where: RowFilter = EVERY_ROW
) -> Iterator[RawBatch]:
    """Rows of a file with one JSON object a line.

    Raises: SourceError if no object of the first batch has one of the mapped columns.
    """
    cells = ObjectCells({**columns, **where.columns})
    batch = RawBatch(where)
    for number, line in Lines(path):
        text = _decoded(number, line, batch)
        row = None if text is None else _object(number, text, batch)
        if row is not None:
            batch.add(number, cells.of(row))
        if batch.num_rows >= BATCH_ROWS:
            cells.check(path)
            yield batch
            batch = RawBatch(where)
    cells.check(path)
    yield batch


class _DuplicateKeyError(ValueError):
    pass


class _NotANumberError(ValueError):
    pass


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise _DuplicateKeyError
    return row


def _refuse_constant(name: str) -> Any:
    raise _NotANumberError(name)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)


def _object(number: int, text: str, batch: RawBatch) -> dict[str, Any] | None:
    try:
        row = _DECODER.decode(text)
    except _DuplicateKeyError:
        batch.reject(number, "duplicate_keys", "an object has one key twice", text)
    except _NotANumberError as error:
        batch.reject(number, "not_a_number", f"{error} is not JSON", text)
    except json.JSONDecodeError as error:
        batch.reject(number, "malformed_json", f"{error.msg} at character {error.pos + 1}", text)
    except (ValueError, RecursionError) as error:
        batch.reject(number, "malformed_json", f"{type(error).__name__} while reading it", text)
    else:
        if isinstance(row, dict):
            return row
        batch.reject(number, "malformed_json", f"a {type(row).__name__}, not an object", text)
    return None


class Lines:
    """Physical lines of a file with their numbers, without line ends; None for an oversize one."""

    def __init__(self, path: Path) -> None:
        """Open `path` when the first line is asked for; UTF-16 and compressed files are refused."""
        self._numbered = self._read(path)
        self._ahead: deque[tuple[int, bytes | None]] = deque()

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        while True:
            if not self._ahead:
                line = next(self._numbered, None)
                if line is None:
                    return
                self._ahead.append(line)
            yield self._ahead.popleft()

    def peek(self, distance: int) -> bytes | None:
        """The line `distance` (1 or more) after the current one; None if oversize or at the end."""
        while len(self._ahead) < distance:
            line = next(self._numbered, None)
            if line is None:
                return None
            self._ahead.append(line)
        return self._ahead[distance - 1][1]

    def skip(self, count: int) -> None:
        """Use up `count` lines that were peeked at."""
        for _ in range(count):
            self._ahead.popleft()

    @staticmethod
    def _read(path: Path) -> Iterator[tuple[int, bytes | None]]:
        with path.open("rb") as stream:
            head = stream.read(4)
            if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head[:2] == b"\x1f\x8b":
                raise _not_utf8(path)
            stream.seek(3 if head[:3] == b"\xef\xbb\xbf" else 0)
            number = 0
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                    while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                        pass
                    yield number, None
                else:
                    yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _decoded(number: int, line: bytes | None, batch: RawBatch) -> str | None:
    if line is None:
        detail = f"more than {MAX_LINE_BYTES:,} bytes"
        batch.reject(number, "oversize_line", detail, None)
    elif not line.strip():
        batch.reject(number, "blank_line", "the line is blank", None)
    elif b"\0" in line:
        batch.reject(number, "nul_character", "the line holds a NUL character", line)
    else:
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            batch.reject(number, "invalid_utf8", f"byte {error.start + 1} is not UTF-8", line)
    return None


def _not_utf8(path: Path) -> SourceError:
    return SourceError(
        f"{path.name} is not UTF-8 text (but perhaps Windows-1252, UTF-16, or compressed)",
        rule="CSV, TSV and JSON lines are read as plain UTF-8",
        remedy="save or unpack it as UTF-8 text",
    )
