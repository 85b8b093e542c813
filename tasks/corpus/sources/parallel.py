"""The same rows in another language's file, joined by a key.

    zh/train: index_id 7, 这座城市…   +   en/train: index_id 7, The city …   ->  one row, both texts

Data sets that were translated whole come as a file a language. The other file is indexed on disk
(SQLite, by key), so memory does not grow with it; its own order does not matter. A row whose key
the other file lacks, or has with two texts, is set aside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.corpus.readers.raw_rows import RawBatch
from tasks.corpus.sources.files import parallel_files, read_parallel_rows
from tasks.corpus.sources.source import FileSource

_KEY = "key"


class ParallelTexts:
    """The texts of `source.parallel` by key, while the source is read."""

    def __init__(self, source: FileSource, path: Path) -> None:
        """Index the other file in a database at `path`, which is written anew.

        Raises: SourceError if the file is not what the source says.
        """
        assert source.parallel is not None
        self.source = source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._database = sqlite3.connect(path)
        # Thrown away after the run: nothing is to survive a crash.
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE texts (key TEXT PRIMARY KEY, text TEXT, text_b TEXT, twice INTEGER) "
            "WITHOUT ROWID"
        )
        self._has_b = source.parallel.columns.text_b is not None
        for rows in self._other_rows():
            self._database.executemany(
                "INSERT INTO texts VALUES (?, ?, ?, 0) ON CONFLICT (key) DO UPDATE SET twice = "
                "twice OR text IS NOT excluded.text OR text_b IS NOT excluded.text_b",
                rows,
            )
        self._database.commit()

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def join(self, batch: RawBatch) -> RawBatch:
        """The rows of `batch` with their texts of the other file in place of their keys."""
        joined = RawBatch(rejected=batch.rejected)
        for line, row in batch.rows():
            others = dict(row.others)
            key = others.pop(_KEY, None)
            found = self._find(key)
            if found is None:
                detail = "no key" if key is None else "no row of the other file has its key"
                joined.reject(line, "missing_parallel", detail, row.text)
                continue
            text, text_b, twice = found
            if twice:
                detail = "the other file has two texts of its key"
                joined.reject(line, "ambiguous_parallel", detail, row.text)
                continue
            cells = {**others, "text": row.text, "label": row.label, "parallel_text": text}
            joined.add(line, {**cells, "parallel_text_b": text_b} if self._has_b else cells)
        return joined

    def _find(self, key: Any) -> tuple[str, str | None, int] | None:
        query = "SELECT text, text_b, twice FROM texts WHERE key = ?"
        return None if key is None else self._database.execute(query, (str(key),)).fetchone()

    def _other_rows(self) -> Iterator[list[tuple[str, str, str | None]]]:
        for file in parallel_files(self.source):
            for batch in read_parallel_rows(self.source, file):
                yield [
                    (str(row.others[_KEY]), row.text, row.others.get("text_b"))
                    for _, row in batch.rows()
                    if row.others[_KEY] is not None
                ]
