"""Cells that hold more than one value: lists and records, however a format spells them.

["a", "b"]                   Parquet, JSON lines, saved data sets
'["a", "b"]'  or  'a b'      a text cell: JSON, or words between spaces (CSV, TSV)
[{start: 0, end: 3}, ...]    records, one after the other
{start: [0, ...], end: [3, ...]}    the same by columns, as `datasets` keeps lists of records
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def as_list(value: Any) -> list[Any] | None:
    """The items of a cell; None if it holds no list."""
    if isinstance(value, str):
        return _json(value) if value.lstrip().startswith("[") else value.split()
    return value if isinstance(value, list) else None


def as_records(value: Any, names: Sequence[str]) -> list[tuple[Any, ...]] | None:
    """The records of a cell, each as the values of `names`; None if it does not hold such records.

    Other fields of a record are left out.
    """
    if isinstance(value, str):
        value = _json(value)
    if isinstance(value, dict):
        columns = [column for name in names if isinstance(column := value.get(name), list)]
        if len(columns) < len(names) or len({len(column) for column in columns}) > 1:
            return None
        return list(zip(*columns, strict=True))
    if not isinstance(value, list):
        return None
    if not all(isinstance(record, dict) and set(names) <= set(record) for record in value):
        return None
    return [tuple(record[name] for name in names) for record in value]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
