"""Parquet, streamed and measured before it is unfolded.

A dictionary page lets 521 bytes of Parquet stand for 20 GB of text, and the file's own metadata
then claims 1 MB. So texts stay dictionaries until the size of every cell is known from the
dictionary; oversize cells are set aside, and a file that unfolds beyond reason is refused. A
thousand bytes can as well be one list of 150 million words: values in lists are counted by the
metadata before they are read, and by the offsets of lists before they become Python values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from data_contracts.errors import SourceError
from tasks.corpus.readers.raw_rows import (
    BATCH_ROWS,
    MAX_CELL_BYTES,
    MAX_COLUMNS,
    STRUCTURED,
    ColumnMapping,
    RawBatch,
    no_column,
)
from tasks.corpus.readers.record_fields import (
    TWICE,
    arrow_cells,
    arrow_fields,
    field_names,
    find_field,
    such_as,
)
from tasks.corpus.readers.row_choice import EVERY_ROW, RowFilter, is_filtered_by

pc: Any = pyarrow.compute

_MAX_ROW_GROUP_BYTES = 1 << 30
_MAX_UNFOLDING = 1000
_MIN_SUSPICIOUS_BYTES = 256 << 20
_ROWS_A_READER = 65_536
_BYTES_AN_ITEM = 8


def read_parquet(
    path: Path, columns: ColumnMapping, where: RowFilter = EVERY_ROW
) -> Iterator[RawBatch]:
    """Rows of a Parquet file, those that `where` lets pass.

    Raises: SourceError if it is not Parquet, lacks a mapped column, has one twice or of another
        type, or unfolds into more than a thousand times its size.
    """
    wanted = {**columns, **where.columns}
    try:
        # Read ahead, a file's columns would stay in memory to its end: 20 bytes a short text.
        leaves: Any = _leaves(pq.read_metadata(path).schema, wanted.values())
        file = pq.ParquetFile(path, read_dictionary=leaves, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(
            f"{path.name} is not a readable Parquet file: {str(error).splitlines()[0]}",
            rule="format: parquet names Apache Parquet files",
            remedy="check the format, or write the file again",
        ) from error
    with file:
        fields = _check_schema(path, file, wanted)
        largest = max(
            (file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)),
            default=0,
        )
        if largest > _MAX_ROW_GROUP_BYTES:
            raise _too_large(path, f"a row group of {largest:,} bytes")
        limit = max(_MIN_SUSPICIOUS_BYTES, _MAX_UNFOLDING * path.stat().st_size)
        _check_items(path, file, columns, limit)
        unfolded, row = 0, 0
        names = list(dict.fromkeys(columns.values()))
        try:
            for arrow in _batches(file, fields):
                lengths = {name: _byte_lengths(arrow[name]) for name in names}
                unfolded += sum(pc.sum(length).as_py() or 0 for length in lengths.values())
                if unfolded > limit:
                    raise _too_large(path, f"{unfolded:,} bytes of text by row {row + 1:,}")
                taken = _places_taken(arrow, where)
                yield _parquet_batch(arrow, columns, lengths, row, taken)
                row += arrow.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(
                f"{path.name} is damaged after row {row:,}: {str(error).splitlines()[0]}",
                rule="every page of a Parquet file must be readable",
                remedy="fetch or write the file again",
            ) from error


def _batches(
    file: pq.ParquetFile, fields: Mapping[str, tuple[str, ...]]
) -> Iterator[pa.RecordBatch]:
    """All rows in order, with the columns of `fields`, which tells the names that lead to each.

    A reader keeps every text of a dictionary it has met, so it reads some row
    groups and makes room for the next.

    Where texts are in lists or records, one group: a batch of them cannot hold two dictionaries.
    """
    schema = file.metadata.schema
    leaves = map(schema.column, _leaves(schema, fields))
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    # Two of one path: a column `a.b`, and the field b of a record a, which is read with it.
    has_nested_texts = len(set(texts)) < len(texts) or any(
        fields.get(path) != (path,) for path in texts
    )
    rows_a_reader = 1 if has_nested_texts else _ROWS_A_READER
    groups: list[int] = []
    rows = 0
    for number in range(file.num_row_groups):
        groups.append(number)
        rows += file.metadata.row_group(number).num_rows
        if rows >= rows_a_reader or number == file.num_row_groups - 1:
            for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=list(fields)):
                cells = [arrow_cells(batch, path) for path in fields.values()]
                yield pa.RecordBatch.from_arrays(cells, names=list(fields))
            groups, rows = [], 0


def _leaves(schema: Any, columns: Iterable[str]) -> list[int]:
    """Numbers of the physical columns behind `columns`, of those with such a name of their own
    (`a.b`) and of those inside lists and records."""
    roots = tuple(f"{column}." for column in columns)
    return [n for n in range(len(schema)) if f"{schema.column(n).path}.".startswith(roots)]


def _check_schema(
    path: Path, file: pq.ParquetFile, columns: ColumnMapping
) -> dict[str, tuple[str, ...]]:
    """The names that lead to each column."""
    schema, fields = file.schema_arrow, {}
    if len(schema.names) > MAX_COLUMNS:
        raise _too_large(path, f"{len(schema.names):,} columns")
    for key, column in columns.items():
        found = find_field(column, schema, arrow_fields)
        if found is None or found[1] is TWICE:
            raise no_column(path, column, field_names(schema, arrow_fields))
        fields[column], kind = found
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        is_filter = is_filtered_by(key)
        is_whole = pa.types.is_integer(kind) and (is_filter or key in ("label", "domain", "key"))
        is_whole |= pa.types.is_boolean(kind) and is_filter
        is_number = key == "score" and (pa.types.is_integer(kind) or pa.types.is_floating(kind))
        is_nested = pa.types.is_nested(kind) and not pa.types.is_map(kind) and key in STRUCTURED
        if not (is_text or is_whole or is_number or is_nested):
            raise SourceError(
                f"{path.name}: the column {column!r} is of type {kind}",
                rule="texts are strings; labels are strings or integers; scores are strings or "
                f"numbers; {', '.join(sorted(STRUCTURED))} may be lists; columns of where are "
                "strings, integers or booleans",
                remedy=f"convert {column!r}, or map another column"
                + such_as(column, kind, arrow_fields),
            )
    return fields


def _check_items(path: Path, file: pq.ParquetFile, columns: ColumnMapping, limit: int) -> None:
    """Refuse a file whose lists alone, read a batch at a time, would fill the memory."""
    schema = file.metadata.schema
    leaves = _leaves(schema, columns.values())
    in_lists = [number for number in leaves if schema.column(number).max_repetition_level]
    rows, items, total = 0, 0, 0
    for number in range(file.num_row_groups if in_lists else 0):
        group = file.metadata.row_group(number)
        in_group = sum(group.column(leaf).num_values for leaf in in_lists)
        rows, items, total = rows + group.num_rows, items + in_group, total + in_group
        in_batch = items * BATCH_ROWS // max(rows, BATCH_ROWS)
        if in_batch * _BYTES_AN_ITEM > _MAX_ROW_GROUP_BYTES:
            raise _too_large(path, f"{items:,} values in lists of {rows:,} rows")
        if rows >= BATCH_ROWS:  # else the next row group is of the same batch
            rows, items = 0, 0
    if total * _BYTES_AN_ITEM > limit:
        raise _too_large(path, f"{total:,} values in lists")


def _byte_lengths(column: pa.Array) -> pa.Array:
    """Bytes of each cell, measured on the dictionary without unfolding it.

    Those of lists and records, which are not told cell by cell, all in the first.
    """
    if pa.types.is_nested(column.type):
        return pa.array([_nested_bytes(column), *[0] * (len(column) - 1)], pa.int64())
    if _is_dict(column):
        return pc.take(_byte_lengths(column.dictionary), column.indices)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return pa.array([8] * len(column), pa.int64())
    return pc.cast(pc.binary_length(column), pa.int64())


def _nested_bytes(column: pa.Array) -> int:
    """Bytes of text in lists and records, with eight for each value; not cell by cell.

    How much one cell may hold is judged when its row is taken.
    """
    if pa.types.is_struct(column.type):
        return sum(map(_nested_bytes, column.flatten()))
    if pa.types.is_nested(column.type):
        return _nested_bytes(column.flatten())
    is_text = _is_dict(column) or pa.types.is_string(column.type)
    num_bytes = _BYTES_AN_ITEM * len(column)
    if is_text or pa.types.is_large_string(column.type):
        num_bytes += pc.sum(_byte_lengths(column)).as_py() or 0
    return num_bytes


def _num_items(column: pa.Array) -> npt.NDArray[np.int64]:
    """Items of the lists in each cell, lists in lists included, told by their offsets.

    A cell holds at least so many values; those of records do not count as such.
    """
    kind, length = column.type, len(column)
    if pa.types.is_struct(kind):
        fields = [_num_items(column.field(number)) for number in range(kind.num_fields)]
        items = np.sum([np.zeros(length, np.int64), *fields], axis=0)
    elif pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        inner = _num_items(column.values.slice(column.offset * size, length * size))
        items = size + inner.reshape(length, size).sum(axis=1)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        offsets = column.offsets.to_numpy().astype(np.int64)
        items = np.diff(offsets)
        if pa.types.is_nested(kind.value_type):
            first, last = offsets[[0, -1]].tolist()
            inner = _num_items(column.values.slice(first, last - first))
            before = np.concatenate([[0], np.cumsum(inner)])[offsets - first]
            items = items + np.diff(before)
    else:
        return np.zeros(length, np.int64)
    return np.where(column.is_valid().to_numpy(zero_copy_only=False), items, 0)


def _places_taken(arrow: pa.RecordBatch, where: RowFilter) -> pa.Array | None:
    """Numbers of the rows that `where` lets pass, told without making Python values of others."""
    if not where.values:
        return None
    taken: Any = pa.scalar(True)
    for column, wanted in where.values.items():
        cells, values = arrow[column], pa.array(sorted(wanted), pa.string())
        known = cells.dictionary if _is_dict(cells) else cells
        named = pc.is_in(known.cast(pa.string()), value_set=values)
        taken = pc.and_(taken, pc.take(named, cells.indices) if _is_dict(cells) else named)
    return pc.indices_nonzero(pc.fill_null(taken, False))


def _parquet_batch(
    arrow: pa.RecordBatch,
    columns: ColumnMapping,
    lengths: Mapping[str, pa.Array],
    offset: int,
    taken: pa.Array | None,
) -> RawBatch:
    """The rows of a batch; those at the places `taken`, or None for all."""
    batch = RawBatch()
    places = range(arrow.num_rows)
    if taken is not None:
        batch.num_not_taken = arrow.num_rows - len(taken)
        places = taken.to_pylist()
        arrow, lengths = arrow.take(taken), {name: pc.take(n, taken) for name, n in lengths.items()}
    cells = {key: _cells(key, arrow[column], lengths[column]) for key, column in columns.items()}
    for place in places:
        row = {key: next(values) for key, values in cells.items()}
        line = offset + place + 1
        problem = next((p for p in row.values() if isinstance(p, _Problem)), None)
        if problem:
            label = row.get("label")
            batch.num_admitted += 1
            batch.reject(line, problem.reason, problem.detail, problem.raw, label)
        else:
            batch.add(line, row)
    return batch


@dataclass(frozen=True)
class _Problem:
    reason: str
    detail: str
    raw: bytes | None = None


def _cells(key: str, column: pa.Array, lengths: pa.Array) -> Iterator[Any]:
    """Cells as Python values; an oversize or undecodable one as a `_Problem`.

    Lists and records one at a time: those that `RawBatch.add` rejects are not kept in memory.
    """
    if not pa.types.is_nested(column.type):
        return iter(_plain_cells(column, lengths))
    # A value in it counts for a byte at least, as does the cell: so it is judged when it is added.
    oversize = _num_items(column) >= MAX_CELL_BYTES
    detail = f"{key} holds more than {MAX_CELL_BYTES:,} bytes"
    return (
        _Problem("oversize_cell", detail) if is_oversize else _decoded_nested(cell)
        for cell, is_oversize in zip(column, oversize.tolist(), strict=True)
    )


def _plain_cells(column: pa.Array, lengths: pa.Array) -> list[Any]:
    oversize = pc.fill_null(pc.greater(lengths, MAX_CELL_BYTES), False)
    if pc.any(oversize).as_py():
        small = pc.if_else(oversize, None, column if not _is_dict(column) else column.indices)
        if _is_dict(column):
            small = pa.DictionaryArray.from_arrays(small, column.dictionary)
        values = _decoded_cells(small)
        for index in pc.indices_nonzero(oversize).to_pylist():
            size = lengths[index].as_py()
            detail = f"{size:,} bytes, at most {MAX_CELL_BYTES:,}"
            values[index] = _Problem("oversize_cell", detail)
        return values
    return _decoded_cells(column)


def _decoded_cells(column: pa.Array) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        plain = column.dictionary_decode() if _is_dict(column) else column
        kind = pa.large_binary() if pa.types.is_large_string(plain.type) else pa.binary()
        return [_decoded_cell(value) for value in plain.view(kind).to_pylist()]


def _decoded_cell(value: bytes | None) -> str | _Problem | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError as error:
        return _Problem("invalid_utf8", f"byte {error.start + 1} is not UTF-8", value)


def _decoded_nested(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError as error:
        return _Problem("invalid_utf8", f"byte {error.start + 1} of a text in it is not UTF-8")


def _is_dict(column: pa.Array) -> bool:
    return isinstance(column, pa.DictionaryArray)


def _too_large(path: Path, fact: str) -> SourceError:
    return SourceError(
        f"{path.name} unfolds into {fact}, from {path.stat().st_size:,} bytes",
        rule=f"row groups up to {_MAX_ROW_GROUP_BYTES:,} bytes, {MAX_COLUMNS} columns, and text up "
        f"to {_MAX_UNFOLDING:,} times the file's size are read; a value in a list counts for "
        f"{_BYTES_AN_ITEM} bytes",
        remedy="if the file is what it should be, write it again in smaller row groups",
    )
