"""Part files of the corpus: rows of one role and one file of a source, at most 65,536 each."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from data_contracts.tables import arrow_schema, check_table, load_contract
from tasks.corpus.tables import ROWS_PER_PART, write_table

if TYPE_CHECKING:
    from tasks.corpus.rows.kind import RowKind
    from tasks.corpus.sources.source import Source


class PartWriter:
    """Writes `<folder>/<role>/part-NNNNN.parquet` under the row kind's contract."""

    def __init__(self, folder: Path, kind: RowKind) -> None:
        """Nothing is written yet."""
        self._folder, self._kind = folder, kind
        self._numbers: Counter[str] = Counter()
        self._waiting: dict[str, list[pa.Table]] = defaultdict(list)

    def add(self, role: str, rows: pa.Table, source: Source, label: str) -> None:
        """Take prepared rows (columns of a piece) that stay in `role`.

        Args:
            label: what the rows' `source` column says.
        """
        if not rows.num_rows:
            return
        texts, labels = rows["text"].to_pylist(), rows["label"].to_pylist()
        parallel_texts = rows["parallel_text"].to_pylist()
        parallel_languages = [
            None if parallel is None else source.parallel_language for parallel in parallel_texts
        ]
        names = [field.name for field in self._kind.fields]
        extra = zip(*(rows[name].to_pylist() for name in names), strict=True)
        more = list(extra) if names else [()] * rows.num_rows
        columns = {
            "example_id": [
                example_id(role, source.language, text, parallel, language, name, *others)
                for text, parallel, language, name, others in zip(
                    texts, parallel_texts, parallel_languages, labels, more, strict=True
                )
            ],
            "text": texts,
            "language": [source.language] * rows.num_rows,
            "label": labels,
            "parallel_text": parallel_texts,
            "parallel_language": parallel_languages,
            "source": [label] * rows.num_rows,
            "line": rows["line"],
            "domain": rows["domain"],
            **{name: rows[name] for name in names},
        }
        schema = arrow_schema(load_contract(self._kind.corpus_contract))
        self._waiting[role].append(pa.table(columns, schema=schema))
        while sum(table.num_rows for table in self._waiting[role]) >= ROWS_PER_PART:
            self._flush(role)

    def finish_file(self) -> None:
        """Write what is left, so that the next file of a source begins new parts."""
        for role in list(self._waiting):
            while self._waiting[role]:
                self._flush(role)

    def _flush(self, role: str) -> None:
        table = pa.concat_tables(self._waiting[role])
        part, rest = table.slice(0, ROWS_PER_PART), table.slice(ROWS_PER_PART)
        name = f"{role}/part-{self._numbers[role]:05d}.parquet"
        check_table(part, self._kind.corpus_contract, name=name)
        write_table(part, self._folder / name)
        self._numbers[role] += 1
        self._waiting[role] = [rest] if rest.num_rows else []


def example_id(
    role: str,
    language: str,
    text: str,
    parallel_text: str | None,
    parallel_language: str | None,
    label: str | None,
    *more: Any,
) -> str:
    """The first 128 bits of SHA-256 over what the row is, 32 hex characters.

    Args:
        more: what rows of this kind have beyond that, JSON values.
    """
    parallel = None if parallel_text is None else [parallel_language, parallel_text]
    content = json.dumps([role, language, text, parallel, label, *more], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:32]
