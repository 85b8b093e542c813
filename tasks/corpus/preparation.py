"""One batch of raw rows -> normalised rows that pass every rule on a single row, and the others.

A pure function of the batch, so batches can be prepared by several processes at once and the bytes
stay the same. Starting processes costs half a second, so the first batches are prepared here; a
small corpus never pays.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from data_contracts.artifacts import Frozen
from tasks.corpus.filtering import FilterConfig, language_problem, length_problem
from tasks.corpus.normalization import (
    NormalizationConfig,
    has_invisible,
    normalize,
    normalize_label,
)
from tasks.corpus.quarantine import Rejected, quarantine_table
from tasks.corpus.raw_rows import RawBatch

SCHEMA = pa.schema(
    [
        ("line", pa.int64()),
        ("text", pa.string()),
        ("raw_text", pa.string()),  # null where normalising changed nothing
        ("label", pa.string()),
        ("parallel_text", pa.string()),
        ("text_hash", pa.uint64()),
        ("parallel_hash", pa.uint64()),  # 0 without parallel text
    ]
)
MAX_LABEL_CHARACTERS = 256
_INLINE_BATCHES = 2


class RowRules(Frozen):
    """What a row of one file must be like."""

    source: str
    language: str
    parallel_language: str | None
    needs_label: bool
    normalization: NormalizationConfig
    filters: FilterConfig
    keep_quarantined_text: bool


@dataclass(frozen=True)
class Prepared:
    """Rows that passed (`SCHEMA`), rows set aside, and characters removed by kind."""

    rows: pa.Table
    quarantine: pa.Table
    removed_characters: Counter[str]


def prepare(batch: RawBatch, rules: RowRules) -> Prepared:
    """Normalise and judge every row of `batch` on its own."""
    rows: list[tuple[int, str, str | None, str | None, str | None, int, int]] = []
    rejected = list(batch.rejected)
    removed: Counter[str] = Counter()
    columns = (batch.lines, batch.texts, batch.labels, batch.parallel_texts)
    for line, raw, raw_label, raw_parallel in zip(*columns, strict=True):
        text, gone = normalize(raw, rules.normalization)
        removed += gone
        label = normalize_label(raw_label) if raw_label is not None else None
        parallel = None
        problem = _label_problem(label or None, rules) or _text_problem(
            text, rules.language, rules.filters
        )
        if not problem and rules.parallel_language is not None:
            parallel, gone = normalize(raw_parallel or "", rules.normalization)
            removed += gone
            problem = _parallel_problem(parallel, rules.parallel_language, rules.filters)
        if problem:
            rejected.append(Rejected(line, *problem, raw))
            continue
        parallel_hash = text_hash(rules.parallel_language or "", parallel) if parallel else 0
        rows.append(
            (
                line,
                text,
                raw if raw != text else None,
                label or None,
                parallel,
                text_hash(rules.language, text),
                parallel_hash,
            )
        )
    rejected.sort(key=lambda row: row.line)
    columns = zip(*rows, strict=True) if rows else [[] for _ in SCHEMA.names]
    return Prepared(
        pa.table([list(column) for column in columns], schema=SCHEMA),
        quarantine_table(
            rejected,
            source=rules.source,
            language=rules.language,
            keep_text=rules.keep_quarantined_text,
        ),
        removed,
    )


def text_hash(language: str, text: str) -> int:
    """64 bits of BLAKE2b over language and text: what "the same text" means here."""
    digest = hashlib.blake2b(f"{language}\x1f{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _text_problem(text: str, language: str, filters: FilterConfig) -> tuple[str, str] | None:
    problem = length_problem(text, filters)
    if not problem and filters.check_language:
        problem = language_problem(text, language, filters)
    return problem


def _parallel_problem(text: str, language: str, filters: FilterConfig) -> tuple[str, str] | None:
    if not text:
        return "missing_parallel", f"no text in {language}"
    problem = _text_problem(text, language, filters)
    return (problem[0], f"parallel text: {problem[1]}") if problem else None


def _label_problem(label: str | None, rules: RowRules) -> tuple[str, str] | None:
    if label is None:
        return ("missing_label", "no label") if rules.needs_label else None
    if len(label) > MAX_LABEL_CHARACTERS:
        return "invalid_label", f"{len(label)} characters, at most {MAX_LABEL_CHARACTERS}"
    if has_invisible(label):
        return "invalid_label", "invisible characters in the label"
    if rules.filters.labels is not None and label not in rules.filters.labels:
        return "unknown_label", f"{label!r} is not one of {len(rules.filters.labels)} labels"
    return None


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
