"""Columns that are fields of records: `translation.en` where rows hold `translation: {en, zh}`.

    translation.en   a column of that name, if there is one (pandas' json_normalize writes such)
                     otherwise the field `en` of the column `translation`, at any depth: a.b.c

Inside a record likewise: the longest name that is there comes first. Lists are not entered. How
the records of a format are written down (types of Arrow, features of a data set, objects of JSON)
is told by a function from a record to its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from tasks.corpus.readers.raw_rows import MAX_COLUMNS, ColumnMapping, no_column

pc: Any = pyarrow.compute

FieldsOf = Callable[[Any], Mapping[str, Any]]
"""Fields of a record by name; none of what is no record."""

TWICE = object()
"""In the place of a field whose name is there more than once."""


def find_field(column: str, record: Any, fields_of: FieldsOf) -> tuple[tuple[str, ...], Any] | None:
    """The names that lead to `column`, and what `fields_of` tells of it; None if there is none."""
    fields = fields_of(record)
    if column in fields:
        return (column,), fields[column]
    cut = column.rfind(".")
    while cut >= 0:
        name, rest = column[:cut], column[cut + 1 :]
        found = find_field(rest, fields[name], fields_of) if name in fields else None
        if found is not None:
            return (name, *found[0]), found[1]
        cut = column.rfind(".", 0, cut)
    return None


def field_names(record: Any, fields_of: FieldsOf) -> list[str]:
    """What columns of a file may be called: each record, then its fields; the first of very many.

    Names that are there twice are told twice.
    """
    return list(islice(_names(record, fields_of), MAX_COLUMNS))


def _names(record: Any, fields_of: FieldsOf) -> Iterator[str]:
    waiting = [iter([("", record)])]
    while waiting:
        path, inner = next(waiting[-1], (None, None))
        if path is None:
            waiting.pop()
            continue
        if path:
            yield path
        if inner is TWICE:
            yield path
        before = f"{path}." if path else ""
        waiting.append(iter([(before + name, one) for name, one in fields_of(inner).items()]))


def such_as(column: str, record: Any, fields_of: FieldsOf) -> str:
    """The end of a remedy for who named a record instead of a field of it; else nothing."""
    names = field_names(record, fields_of)
    return f", such as {column}.{names[0]}" if names else ""


def arrow_fields(kind: Any) -> dict[str, Any]:
    """`FieldsOf` a schema or type of Arrow: types by name."""
    if not isinstance(kind, pa.Schema | pa.StructType):
        return {}
    fields: dict[str, Any] = {}
    for field in kind:
        fields[field.name] = TWICE if field.name in fields else field.type
    return fields


def arrow_cells(table: Any, path: tuple[str, ...]) -> Any:
    """The column of a table or batch to which `path` leads; null where a record is null."""
    column = table[path[0]]
    return column if len(path) == 1 else pc.struct_field(column, list(path[1:]))


def _object_fields(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


class ObjectCells:
    """The wanted cells of rows that are JSON objects, each read by the names that it has.

    Objects have no schema: which columns there are is learnt from those of the first batch.
    """

    def __init__(self, wanted: ColumnMapping) -> None:
        """Args: wanted: what is wanted -> column of the file."""
        self._wanted = wanted
        self._missing = dict.fromkeys(wanted.values())
        self._lacking: set[str] = set()
        self._existing: dict[str, None] = {}

    def of(self, row: dict[str, Any]) -> dict[str, Any]:
        """The cells of a row; None for what it does not have."""
        if self._missing:
            self._learn(row)
        return {key: _object_cell(row, column) for key, column in self._wanted.items()}

    def check(self, path: Path) -> None:
        """Learn no more.

        Raises: SourceError if no row so far has one of the columns. Where all records that should
            have it are null, nobody knows.
        """
        for column in self._missing:
            if self._existing and column in self._lacking:
                raise no_column(path, column, list(self._existing))
        self._missing = {}

    def _learn(self, row: dict[str, Any]) -> None:
        for column in list(self._missing):
            if find_field(column, row, _object_fields):
                del self._missing[column]
            elif not _stands_in_null(row, column):
                self._lacking.add(column)
        if self._missing and len(self._existing) < MAX_COLUMNS:
            self._existing.update(dict.fromkeys(field_names(row, _object_fields)))


def _object_cell(row: dict[str, Any], column: str) -> Any:
    found = find_field(column, row, _object_fields)
    return None if found is None else found[1]


def _stands_in_null(row: dict[str, Any], column: str) -> bool:
    """Whether the record that should have the field is null, as far as its name leads."""
    part = column.rpartition(".")[0]
    while part:
        found = find_field(part, row, _object_fields)
        if found is not None:
            return found[1] is None
        part = part.rpartition(".")[0]
    return False
