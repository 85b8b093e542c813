"""A data set saved by the Hugging Face library `datasets` (`Dataset.save_to_disk`): a folder.

    folder/  data-00000-of-00002.arrow ...   rows, mapped into memory and read in pieces
             dataset_info.json  state.json   features: a ClassLabel's numbers have names here

This is how users of that library hand data on, on a disk or in a bucket. Only texts and labels are
read (and lists of them): a column of images or audio would be decoded by code that its bytes
choose.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_contracts.errors import SourceError
from tasks.corpus.raw_rows import BATCH_ROWS, STRUCTURED, ColumnMapping, RawBatch, no_column
from tasks.corpus.row_choice import EVERY_ROW, RowFilter


def read_saved_dataset(
    folder: Path, columns: ColumnMapping, where: RowFilter = EVERY_ROW
) -> Iterator[RawBatch]:
    """Rows of a saved data set, numbered from 1; a ClassLabel as its name, -1 as no label.

    Raises: SourceError if the folder is no saved data set, lacks a mapped column, or has one that
        holds neither text nor numbers.
    """
    dataset = _load(folder)
    columns = {**columns, **where.columns}
    for column in columns.values():
        if column not in dataset.column_names:
            raise no_column(folder, column, dataset.column_names)
    names = {key: _class_names(folder, key, column, dataset) for key, column in columns.items()}
    wanted = dataset.select_columns(list(dict.fromkeys(columns.values())))
    row = 0
    for piece in wanted.iter(batch_size=BATCH_ROWS):
        batch = RawBatch(where)
        cells: dict[str, list[Any]] = {}
        for key, column in columns.items():
            found = names[key]
            cells[key] = piece[column] if found is None else _named(piece[column], found)
        for values in zip(*cells.values(), strict=True):
            row += 1
            batch.add(row, dict(zip(cells, values, strict=True)))
        yield batch


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


def _class_names(folder: Path, key: str, column: str, dataset: Any) -> list[str] | None:
    """Names of the numbers of a ClassLabel, alone or in a list; None for other columns."""
    from datasets import ClassLabel, LargeList, List, Value

    feature = dataset.features[column]
    if isinstance(feature, ClassLabel):
        return feature.names
    if key in STRUCTURED:
        inner = feature.feature if isinstance(feature, List | LargeList) else None
        return inner.names if isinstance(inner, ClassLabel) else None
    if not isinstance(feature, Value):
        raise SourceError(
            f"{folder.name}: the column {column!r} is of type {type(feature).__name__}",
            rule="texts and labels are columns of text, numbers or ClassLabel",
            remedy="correct `columns` of this source in the recipe",
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
