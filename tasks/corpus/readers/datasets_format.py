"""A data set saved by the Hugging Face library `datasets` (`Dataset.save_to_disk`): a folder.

    folder/  data-00000-of-00002.arrow ...   rows, mapped into memory and read in pieces
             dataset_info.json  state.json   features: a ClassLabel's numbers have names here

This is how users of that library hand data on, on a disk or in a bucket. Only texts and labels are
read (and lists of them): a column of images or audio would be decoded by code that its bytes
choose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_contracts.errors import SourceError
from tasks.corpus.readers.raw_rows import BATCH_ROWS, STRUCTURED, ColumnMapping, RawBatch, no_column
from tasks.corpus.readers.record_fields import arrow_cells, field_names, find_field, such_as
from tasks.corpus.readers.row_choice import EVERY_ROW, RowFilter


def read_saved_dataset(
    folder: Path, columns: ColumnMapping, where: RowFilter = EVERY_ROW
) -> Iterator[RawBatch]:
    """Rows of a saved data set, numbered from 1; a ClassLabel as its name, -1 as no label.

    Raises: SourceError if the folder is no saved data set, lacks a mapped column, or has one that
        holds neither text nor numbers.
    """
    dataset = _load(folder)
    columns = {**columns, **where.columns}
    found = {column: find_field(column, dataset.features, _fields) for column in columns.values()}
    paths: dict[str, tuple[str, ...]] = {}
    names: dict[str, list[str] | None] = {}
    for key, column in columns.items():
        at = found[column]
        if at is None:
            raise no_column(folder, column, field_names(dataset.features, _fields))
        paths[column], feature = at
        names[key] = _class_names(folder, key, column, feature)
    row = 0
    for piece in _pieces(dataset, paths):
        batch = RawBatch(where)
        cells: dict[str, list[Any]] = {}
        for key, column in columns.items():
            known = names[key]
            cells[key] = piece[column] if known is None else _named(piece[column], known)
        for values in zip(*cells.values(), strict=True):
            row += 1
            batch.add(row, dict(zip(cells, values, strict=True)))
        yield batch


def _pieces(dataset: Any, paths: Mapping[str, tuple[str, ...]]) -> Iterator[dict[str, list[Any]]]:
    """Cells by column, a batch of rows at a time.

    Of records only the fields that are wanted become Python values: others may be images.
    """
    plain = [column for column, path in paths.items() if len(path) == 1]
    inner = {column: path for column, path in paths.items() if len(path) > 1}
    own = dataset.select_columns(plain)
    records = dataset.select_columns(list({path[0]: None for path in inner.values()}))
    records = records.with_format("arrow")
    for first in range(0, len(dataset), BATCH_ROWS):
        rows = slice(first, first + BATCH_ROWS)
        piece = own[rows] if plain else {}
        table = records[rows] if inner else None
        piece |= {column: arrow_cells(table, path).to_pylist() for column, path in inner.items()}
        yield piece


def _load(folder: Path) -> Any:
    from datasets import Dataset, load_from_disk

    try:
        dataset = load_from_disk(str(folder))
    except (OSError, ValueError, LookupError) as error:
        raise SourceError(
            f"{folder.name} is no data set saved by `datasets`: {str(error).splitlines()[0]}",
            rule="format: datasets names a folder that Dataset.save_to_disk wrote",
            remedy="check the path, or save the data set again",
        ) from error
    if not isinstance(dataset, Dataset):
        raise SourceError(
            f"{folder.name} holds the splits {', '.join(map(str, dataset))}",
            rule="a source is one split: it has one role",
            remedy=f"name one of them, such as {folder.name}/{next(iter(dataset))}",
        )
    # Saved with the format that its user had set: rows would be arrays or tables.
    return dataset.with_format(None)


def _fields(feature: Any) -> Mapping[str, Any]:
    """The features of a record by name; none of what is no record."""
    from datasets import Translation, TranslationVariableLanguages

    if isinstance(feature, Translation | TranslationVariableLanguages):
        feature = feature.flatten()
    return feature if isinstance(feature, dict) else {}


def _class_names(folder: Path, key: str, column: str, feature: Any) -> list[str] | None:
    """Names of the numbers of a ClassLabel, alone or in a list; None for other columns."""
    from datasets import ClassLabel, LargeList, List, Value

    if isinstance(feature, ClassLabel):
        return feature.names
    if key in STRUCTURED:
        inner = feature.feature if isinstance(feature, List | LargeList) else None
        return inner.names if isinstance(inner, ClassLabel) else None
    if not isinstance(feature, Value):
        raise SourceError(
            f"{folder.name}: the column {column!r} is of type {type(feature).__name__}",
            rule="texts and labels are columns of text, numbers or ClassLabel",
            remedy="correct `columns` of this source in the recipe"
            + such_as(column, feature, _fields),
        )
    return None


def _named(numbers: list[Any], names: list[str]) -> list[Any]:
    """Names of numbers, of lists of them too; -1 is how `datasets` says that there is no label."""
    return [
        _named(number, names)
        if isinstance(number, list)
        else None
        if number is None or number < 0
        else names[number]
        for number in numbers
    ]
