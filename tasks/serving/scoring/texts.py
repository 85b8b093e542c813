"""The files that batch scoring reads: their format by their name, their rows in batches.

The readers are those of the corpus, so a broken line is data here too: told with its line and a
reason, never raised.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.errors import SourceError
from tasks.runtime.files.locations import local_files

if TYPE_CHECKING:
    from tasks.corpus.readers.raw_rows import RawBatch

_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "tsv",
}
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class TextFile:
    """One file of texts.

    Args:
        label: its name, or its path below what the URI covers.
        path: where it lies on this machine.
        file_format: parquet, jsonl, csv or tsv.
        columns: what is wanted -> column of the file: `text`, further input columns, and `label`
            if a column is to be copied: the readers hand on strings and integers under that name,
            which is what a key is.
    """

    label: str
    path: Path
    file_format: str
    columns: Mapping[str, str]

    def batches(self) -> Iterator[RawBatch]:
        """Rows in order, readable or told why not."""
        from tasks.corpus.readers.parquet_format import read_parquet
        from tasks.corpus.readers.text_formats import read_delimited, read_jsonl

        if self.file_format == "parquet":
            return read_parquet(self.path, self.columns)
        if self.file_format == "jsonl":
            return read_jsonl(self.path, self.columns)
        delimiter = {"csv": ",", "tsv": "\t"}[self.file_format]
        return read_delimited(self.path, self.columns, delimiter=delimiter)

    def count_rows(self) -> int:
        """Rows, for a progress bar: exact for Parquet, lines below a header for text (2 GB/s)."""
        import pyarrow.parquet as pq

        if self.file_format == "parquet":
            try:
                return pq.read_metadata(self.path).num_rows
            except (OSError, ValueError):  # told properly once it is read
                return 0
        lines, block = 0, b"\n"
        with self.path.open("rb") as stream:
            while read := stream.read(_BLOCK_BYTES):
                lines, block = lines + read.count(b"\n"), read
        lines += not block.endswith(b"\n")  # the last line need not end
        return max(0, lines - (self.file_format in ("csv", "tsv")))


def text_files(uri: str, *, file_format: str | None, columns: Mapping[str, str]) -> list[TextFile]:
    """The files behind `uri`, in name order.

    Args:
        columns: see `TextFile`.

    Raises: SourceError if there is none, or a name does not tell its format.
    """
    paths = local_files(uri)
    if len(paths) > 1:
        paths = [path for path in paths if not path.name.startswith((".", "_"))] or paths
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    files = []
    for path in paths:
        found = file_format or _FORMATS.get(path.suffix.lower())
        if found is None:
            raise SourceError(
                f"{path.name} does not tell its format",
                rule=f"files end in {', '.join(sorted(_FORMATS))}",
                remedy="give the format: parquet, jsonl, csv or tsv",
            )
        files.append(TextFile(path.relative_to(folder).as_posix(), path, found, columns))
    return files
