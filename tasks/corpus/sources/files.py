"""The files behind a source, and their rows.

uri -> source_files -> read_rows -> batches of rows, broken ones as rejections
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from data_contracts.errors import SourceError
from tasks.corpus.readers.raw_rows import BATCH_ROWS, ColumnMapping, RawBatch
from tasks.corpus.readers.row_choice import EVERY_ROW, Draw, RowFilter
from tasks.corpus.sources.source import FileFormat, FileSource, Source
from tasks.demo_data.home_assistant import HomeAssistantCommands, HomeAssistantSource, sample
from tasks.demo_data.home_assistant_replies import HomeAssistantReplies, sample_replies
from tasks.runtime.files.locations import local_files

_SEEN_BATCHES = 4


@dataclass(frozen=True)
class SourceFile:
    """One readable unit of a source: rows of two of them never share a part file.

    Args:
        label: name of the source, with the file's path inside it if there are several.
        path: the file, or a saved data set's folder; None for a collection that is generated.
    """

    label: str
    path: Path | None


def source_files(source: FileSource | HomeAssistantCommands) -> list[SourceFile]:
    """The files behind a source, in name order; remote ones are copied to this machine.

    Files whose name begins with a dot or underscore (`_SUCCESS`) are bookkeeping and left out.

    Raises: SourceError if there is none; TransientError if a server cannot be reached.
    """
    if isinstance(source, HomeAssistantCommands):
        return [SourceFile(source.name, None)]
    return _files_at(source.uri, source.format, source.name)


def parallel_files(source: FileSource) -> list[SourceFile]:
    """The files behind `source.parallel`, likewise; none if it has no such file."""
    if source.parallel is None:
        return []
    return _files_at(source.parallel.uri, source.format, f"{source.name}, parallel")


def _files_at(uri: str, format: FileFormat, name: str) -> list[SourceFile]:
    paths = local_files(uri)
    if format == "datasets":
        return [SourceFile(name, Path(os.path.commonpath([one.parent for one in paths])))]
    if len(paths) > 1:
        paths = [path for path in paths if not path.name.startswith((".", "_"))] or paths
    if len(paths) == 1:
        return [SourceFile(name, paths[0])]
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    return [SourceFile(f"{name}/{path.relative_to(folder).as_posix()}", path) for path in paths]


def read_rows(
    source: FileSource | HomeAssistantCommands, file: SourceFile, draw: Draw | None = None
) -> Iterator[RawBatch]:
    """The rows of one file of `source`, in order, in batches; broken ones as rejections.

    Args:
        draw: of all rows of the source (`start_draw`), if not all of them are wanted. Those that
            cannot be read are drawn as others: they were counted, too.

    Raises: SourceError if the file is not what the source says.
    """
    if isinstance(source, HomeAssistantCommands):
        yield from _sampled(source)
        return
    assert file.path is not None
    columns = source.columns.mapping
    if source.parallel is not None:
        columns["key"] = source.parallel.key
    with _errors_of(f"source {source.name!r}"):
        batches = read_file(source.format, file.path, columns, source.row_filter)
        yield from _with_rows(batches if draw is None else (_drawn(one, draw) for one in batches))


def read_parallel_rows(source: FileSource, file: SourceFile) -> Iterator[RawBatch]:
    """The rows of one of `parallel_files`, likewise.

    Raises: SourceError if the file is not what the source says.
    """
    assert source.parallel is not None
    assert file.path is not None
    with _errors_of(f"source {source.name!r}, parallel"):
        yield from read_file(source.format, file.path, source.parallel.mapping)


@contextmanager
def _errors_of(files: str) -> Iterator[None]:
    """Say whose a file is that is not what it should be: files of many may be called alike."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{files}: {error.fact}", rule=error.rule, remedy=error.remedy) from error


def _with_rows(batches: Iterator[RawBatch]) -> Iterator[RawBatch]:
    """The batches without those of which no row is taken; the next has their counts, or a last one.

    So whoever reads a few batches of a file reads rows of the source, be they ever so few.
    """
    held = RawBatch()
    for batch in batches:
        batch.num_not_taken += held.num_not_taken
        batch.num_admitted += held.num_admitted
        held = batch
        if batch.num_rows or not batch.num_not_taken:
            yield batch
            held = RawBatch()
    if held.num_not_taken:
        yield held


def _drawn(batch: RawBatch, draw: Draw) -> RawBatch:
    lines = sorted([*batch.lines, *(one.line for one in batch.rejected)])
    return batch.only({line for line in lines if draw.takes_next()})


def read_file(
    format: FileFormat, path: Path, columns: ColumnMapping, where: RowFilter = EVERY_ROW
) -> Iterator[RawBatch]:
    """The rows of one file that `where` lets pass, in order, in batches.

    Raises: SourceError if the file is not of the format, or lacks a mapped column.
    """
    from tasks.corpus.readers.conll_format import read_conll
    from tasks.corpus.readers.datasets_format import read_saved_dataset
    from tasks.corpus.readers.parquet_format import read_parquet
    from tasks.corpus.readers.text_formats import read_delimited, read_jsonl

    if format == "parquet":
        yield from read_parquet(path, columns, where)
    elif format == "datasets":
        yield from read_saved_dataset(path, columns, where)
    elif format == "conll":
        yield from read_conll(path, columns)
    elif format == "jsonl":
        yield from read_jsonl(path, columns, where)
    else:
        delimiter = {"csv": ",", "tsv": "\t"}[format]
        yield from read_delimited(path, columns, where, delimiter=delimiter)


def start_draw(source: Source, files: Sequence[SourceFile]) -> Draw | None:
    """The draw of a source's `max_rows`, for which all its rows are counted; None if it has none.

    Raises: SourceError if a file is not what the source says.
    """
    if not isinstance(source, FileSource) or source.max_rows is None:
        return None
    num_rows = sum(batch.num_rows for file in files for batch in read_rows(source, file))
    return Draw(num_rows, source.max_rows, source.seed)


def check_readable(source: FileSource) -> None:
    """Read each file of a source up to the first of its rows, and nothing after them.

    Raises: SourceError if a file is not of its format, lacks a column that the source names, or
        has no row that can be read among its first ones; if no file has a row of `where`.
    """
    files, is_found = source_files(source), False
    for file in files:
        first = _first_rows(read_rows(source, file), source.row_filter)
        if first is None and source.where:
            continue  # it holds other sources' rows, and perhaps broken lines
        _check_first(file, first)
        is_found = True
    if not is_found:
        raise none_taken(source, files)


def check_parallel_readable(source: FileSource) -> None:
    """`check_readable` for the files of `source.parallel`, if it has some."""
    for file in parallel_files(source):
        _check_first(file, _first_rows(read_parallel_rows(source, file)))


def _first_rows(batches: Iterator[RawBatch], where: RowFilter = EVERY_ROW) -> RawBatch | None:
    return next(
        (one for one in batches if (one.num_admitted if where.values else one.num_rows)), None
    )


def _check_first(file: SourceFile, first: RawBatch | None) -> None:
    if first is None:
        raise no_rows(file)
    if not first.lines:
        broken = first.rejected[0]
        raise SourceError(
            f"none of the first {first.num_rows:,} rows of {file.label!r} can be read: "
            f"line {broken.line}: {broken.reason}, {broken.detail}",
            rule="a source is written as its format says, with the columns it names",
            remedy="correct the source's format, columns or file",
        )


def no_rows(file: SourceFile) -> SourceError:
    """The error for a file of a source that holds nothing but perhaps a header."""
    return SourceError(
        f"{file.label!r} has no rows",
        rule="a source holds at least one row",
        remedy="check the file, or take the source out of the recipe",
    )


def none_taken(source: FileSource, files: Sequence[SourceFile]) -> SourceError:
    """The error for a source whose `where` lets no row of its files pass."""
    num_rows = sum(batch.num_not_taken for file in files for batch in read_rows(source, file))
    wanted = ", ".join(f"{name}: {' or '.join(values)}" for name, values in source.where.items())
    seen = "; ".join(filter(None, (_values_of(source, files, name) for name in source.where)))
    return SourceError(
        f"none of the {num_rows:,} rows of source {source.name!r} has {wanted}",
        rule="where takes the rows whose column has one of the values, letter by letter"
        + (f"; the first rows have {seen}" if seen else ""),
        remedy="correct `where` of this source in the recipe, or the file that it names",
    )


def _values_of(source: FileSource, files: Sequence[SourceFile], column: str) -> str:
    """The commonest values of a column among the first rows; empty where they cannot be told."""
    columns = {**source.columns.mapping, "domain": column}
    values: Counter[str] = Counter()
    for file in files:
        assert file.path is not None
        try:
            for batch in islice(read_file(source.format, file.path, columns), _SEEN_BATCHES):
                values.update(str(value) for value in batch.others["domain"])
        except SourceError:  # of a type that is no domain
            return ""
    named = ", ".join(f"{value} ({count:,})" for value, count in values.most_common(8))
    return f"{column}: {named}" if named else ""


def _sampled(source: HomeAssistantCommands) -> Iterator[RawBatch]:
    batch = RawBatch()
    for number, row in enumerate(_cells(source), start=1):
        batch.add(number, row)
        if batch.num_rows >= BATCH_ROWS:
            yield batch
            batch = RawBatch()
    yield batch


def _cells(source: HomeAssistantCommands) -> Iterator[dict[str, str | None]]:
    if isinstance(source, HomeAssistantReplies):
        for one in sample_replies(source):
            yield {"text": one.text, "target_text": one.reply}
    elif isinstance(source, HomeAssistantSource):
        for one in sample(source):
            yield {"text": one.text, "label": one.label, "parallel_text": one.parallel_text}
