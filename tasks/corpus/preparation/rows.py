"""One batch of raw rows -> normalised rows that pass every rule on a single row, and the others.

A pure function of the batch, so batches can be prepared by several processes at once and the bytes
stay the same. Starting processes costs half a second, so the first batches are prepared here; a
small corpus never pays.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from tasks.corpus.changes import Changes
from tasks.corpus.preparation.expanded_rows import expanded
from tasks.corpus.quarantine import Rejected, quarantine_table
from tasks.corpus.readers.raw_rows import RawBatch
from tasks.corpus.rows import ROW_KINDS
from tasks.corpus.rows.kind import COMMON_FIELDS, RowKind, RowRules, UnfitError
from tasks.corpus.text.normalization import normalize_label

_INLINE_BATCHES = 2
MAX_DOMAIN_CHARACTERS = 256


@dataclass(frozen=True)
class Prepared:
    """Rows that passed (`piece_schema`), rows set aside, and what was changed in either."""

    rows: pa.Table
    quarantine: pa.Table
    changes: Changes


def piece_schema(kind: RowKind) -> pa.Schema:
    """Columns of prepared rows."""
    return pa.schema([*COMMON_FIELDS, *kind.fields])


def prepare(batch: RawBatch, rules: RowRules) -> Prepared:
    """Normalise and judge every row of `batch` on its own."""
    kind = ROW_KINDS[rules.problem]
    schema = piece_schema(kind)
    rows: list[tuple[Any, ...]] = []
    rejected = list(batch.rejected)
    changes = Changes()
    for line, raw in expanded(batch.rows(), rules, rejected, changes.repaired):
        try:
            row = kind.prepare(raw, rules, changes)
        except UnfitError as error:
            rejected.append(Rejected(line, error.reason, error.detail, raw.text))
            continue
        rows.append(
            (
                line,
                row.text,
                raw.text if raw.text != row.text else None,
                row.label,
                row.parallel_text,
                row.text_hash,
                row.parallel_hash,
                row.annotation,
                _domain(raw.others.get("domain")),
                *row.extra,
            )
        )
    rejected.sort(key=lambda row: row.line)
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema.names]
    return Prepared(
        pa.table([list(column) for column in columns], schema=schema),
        quarantine_table(
            rejected,
            source=rules.source,
            language=rules.language,
            keep_text=rules.keep_quarantined_text,
        ),
        changes,
    )


def _domain(raw: Any) -> str | None:
    """Domains are grouped by in reports: one form, not too long."""
    return None if raw is None else normalize_label(str(raw))[:MAX_DOMAIN_CHARACTERS] or None


def prepare_all(
    batches: Iterable[tuple[RawBatch, RowRules]], *, workers: int
) -> Iterator[Prepared]:
    """`prepare` for each batch, in order, by up to `workers` processes; at most a few are held."""
    iterator = iter(batches)
    for batch, rules in islice(iterator, None if workers <= 1 else _INLINE_BATCHES):
        yield prepare(batch, rules)
    first = next(iterator, None)
    if first is None:
        return
    # Spawned, not forked: the parent may run threads (Prefect, a progress bar) that hold locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        pending: deque[Future[Prepared]] = deque([pool.submit(prepare, *first)])
        for batch, rules in iterator:
            pending.append(pool.submit(prepare, batch, rules))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
