"""Batches of raw texts → tables of answers: what batch scoring does to one batch, wherever it runs.

    RawBatch ─ normalise ─ tokenise ─ network ─ answers ─► table, one row a row of the batch
          └── broken, null, empty ──────── reason ──────────┘

One batch is scored while the next is read and tokenised. A batch is answered by itself, so who
hands the same batches over gets the same bits, in one process or in many.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from data_contracts.artifacts import Frozen
from tasks.corpus.readers.raw_rows import RawBatch
from tasks.corpus.text.normalization import normalize
from tasks.runtime.progress import Progress
from tasks.serving.scoring.networks import Network
from tasks.serving.scoring.prediction import Answering, Model, Question


class ScoringCounts(Frozen):
    """What the rows of a run of batch scoring, or of a part of it, came to."""

    num_rows: int = Field(
        default=0, description="rows of the input, all of them rows of the output"
    )
    num_scored: int = Field(default=0, description="rows with an answer")
    unscored: dict[str, int] = Field(
        default_factory=dict, description="rows without one, by reason"
    )
    num_truncated: int = Field(default=0, description="texts cut at the student's length")
    num_tokens: int = Field(default=0, description="tokens read, special ones included")
    labels: dict[str, int] = Field(
        default_factory=dict,
        description="answers by label: of rows, of entities by type, or answer and no answer",
    )

    def __add__(self, other: ScoringCounts) -> ScoringCounts:
        """Counts of both together."""
        return ScoringCounts(
            num_rows=self.num_rows + other.num_rows,
            num_scored=self.num_scored + other.num_scored,
            unscored=_most_first(self.unscored, other.unscored),
            num_truncated=self.num_truncated + other.num_truncated,
            num_tokens=self.num_tokens + other.num_tokens,
            labels=_most_first(self.labels, other.labels),
        )


def _most_first(*counts: Mapping[str, int]) -> dict[str, int]:
    """The sum, the most frequent first, equals by name."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def output_schema(asked: Answering, labels: list[str], *, has_id: bool) -> pa.Schema:
    """Columns of the output; class order of probabilities in the metadata, key `labels`."""
    fields = [pa.field("file", pa.string()), pa.field("line", pa.int64())]
    if has_id:
        fields.append(pa.field("id", pa.string()))
    fields += [*asked.fields, pa.field("reason", pa.string())]
    return pa.schema(fields, {"labels": json.dumps(labels, ensure_ascii=False)})


def write_answers(
    stream: IO[bytes],
    batches: Iterable[tuple[str, RawBatch]],
    model: Model,
    asked: Answering,
    network: Network,
    schema: pa.Schema,
    *,
    progress: Progress,
) -> ScoringCounts:
    """Answer `batches`, each with the name of its file, and write them as one Parquet file.

    Args:
        schema: see `output_schema`.
        progress: hears of every row.
    """
    tally = _Tally()
    with pq.ParquetWriter(
        stream, schema, compression="zstd", write_page_checksum=True, version="2.6"
    ) as writer:
        for table in _answered(batches, model, asked, network, schema, tally):
            writer.write_table(table)
            progress.advance(table.num_rows)
    return tally.counts()


class _Tally:
    """Counts over all batches."""

    def __init__(self) -> None:
        self.num_rows = self.num_truncated = self.num_tokens = 0
        self.unscored: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()

    def counts(self) -> ScoringCounts:
        return ScoringCounts(
            num_rows=self.num_rows,
            num_scored=self.num_rows - self.unscored.total(),
            unscored=_most_first(self.unscored),
            num_truncated=self.num_truncated,
            num_tokens=self.num_tokens,
            labels=_most_first(self.labels),
        )


@dataclass(frozen=True)
class _Prepared:
    """A batch ready to be scored: N rows of input, of which `places` can be read."""

    file: str
    lines: np.ndarray
    ids: list[str | None]
    reasons: list[str | None]
    places: np.ndarray
    given: dict[str, list[str]]
    question: Question


def _answered(
    batches: Iterable[tuple[str, RawBatch]],
    model: Model,
    asked: Answering,
    network: Network,
    schema: pa.Schema,
    tally: _Tally,
) -> Iterator[pa.Table]:
    """Output rows batch by batch: while one is scored, the next is read and tokenised."""
    waiting: tuple[_Prepared, Future[np.ndarray]] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="score") as scorer:
        for file, batch in batches:
            if not batch.num_rows:
                continue
            prepared = _prepare(file, batch, model, asked, tally)
            question = prepared.question
            logits = scorer.submit(network.logits, question.input_ids, question.units)
            due, waiting = waiting, (prepared, logits)
            if due is not None:
                yield _table(*due, asked, schema, tally)
        if waiting is not None:
            yield _table(*waiting, asked, schema, tally)


def _prepare(
    file: str, batch: RawBatch, model: Model, asked: Answering, tally: _Tally
) -> _Prepared:
    """Normalise and tokenise; rows in the order of the input, broken ones among them."""
    main, *further = asked.columns
    cells: dict[str, list[Any]] = {main: list(batch.texts)}
    cells |= {name: batch.others[name] for name in further}
    reasons: list[str | None] = [None] * len(batch.texts)
    texts: dict[str, list[str]] = {}
    for name, column in cells.items():
        texts[name] = []
        for row, cell in enumerate(column):
            text = normalize(cell, model.normalization)[0] if isinstance(cell, str) else ""
            texts[name].append(text)
            if not text and reasons[row] is None:
                what = "text" if name == main else name
                reasons[row] = f"empty_{what}" if isinstance(cell, str) else f"missing_{what}"
    readable = np.array([row for row, reason in enumerate(reasons) if not reason], dtype=np.int64)
    lines = np.array([*batch.lines, *(row.line for row in batch.rejected)], dtype=np.int64)
    reasons += [row.reason for row in batch.rejected]
    ids = [*batch.labels, *(row.label for row in batch.rejected)]
    question = asked.read(
        {name: [column[row] for row in readable] for name, column in texts.items()}
    )
    order = np.argsort(lines, kind="stable")
    place_of = np.empty_like(order)
    place_of[order] = np.arange(len(order))
    tally.num_rows += len(lines)
    tally.unscored.update(reason for reason in reasons if reason)
    tally.num_tokens += len(question.input_ids.values)
    tally.num_truncated += question.num_truncated
    return _Prepared(
        file=file,
        lines=lines[order],
        ids=[ids[row] for row in order],
        reasons=[reasons[row] for row in order],
        places=place_of[readable],
        given=_rows(cells, readable),
        question=question,
    )


def _rows(columns: dict[str, list[Any]], rows: np.ndarray) -> dict[str, list[str]]:
    return {name: [column[row] for row in rows] for name, column in columns.items()}


def _table(
    prepared: _Prepared,
    scored: Future[np.ndarray],
    asked: Answering,
    schema: pa.Schema,
    tally: _Tally,
) -> pa.Table:
    num_rows = len(prepared.lines)
    columns: dict[str, Any] = {
        "file": pa.repeat(pa.scalar(prepared.file), num_rows),
        "line": pa.array(prepared.lines),
        "id": pa.array(prepared.ids, pa.string()),
        "reason": pa.array(prepared.reasons, pa.string()),
    }
    if len(prepared.places):
        answers = asked.answer(prepared.given, prepared.question, scored.result())
        tally.labels.update(asked.count(answers))
        row_of = np.zeros(num_rows, dtype=np.int64)
        row_of[prepared.places] = np.arange(len(prepared.places))
        unscored = np.ones(num_rows, dtype=bool)
        unscored[prepared.places] = False
        rows = pa.array(row_of, mask=unscored)
        for field, answer in zip(asked.fields, answers, strict=True):
            columns[field.name] = answer.cast(field.type).take(rows)
    else:
        columns |= {field.name: pa.nulls(num_rows, field.type) for field in asked.fields}
    return pa.table([columns[name] for name in schema.names], schema=schema)
