"""Batch scoring: a delivered student reads a file of texts and writes its answers beside them.

    rows in batches ─ normalise ─ tokenise ─ network ─ answers ─► Parquet, one row a row of input
          └── broken, null, empty ──────────────── reason ──────────┘

One batch is scored while the next is read and tokenised, so memory is flat whatever the file's
size. Every row of the input is a row of the output: what cannot be scored has null answers and a
reason. The output appears under its name only when it is complete.

Columns: `file`, `line` (as an editor or the Parquet file counts rows, from 1), `id` (of a column of
the input, if named), the answer's own (see `answering.py`; class order of probabilities in the
schema's metadata, key `labels`), `reason`.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from data_contracts.artifacts import Frozen
from data_contracts.errors import ContractViolation, UserError
from tasks.corpus.normalization import normalize
from tasks.corpus.raw_rows import RawBatch
from tasks.runtime.progress import Progress, SilentProgress
from tasks.serving.answering import Answering, Model, Question, answering
from tasks.serving.networks import Network, Variant, load_network
from tasks.serving.texts import TextFile, text_files

FileFormat = Literal["parquet", "jsonl", "csv", "tsv"]


class ScoringConfig(Frozen):
    """Which texts of a file are scored, by which form of the student, and what is written."""

    variant: Variant = Field(
        default="onnx_int8",
        description="onnx_int8: smaller and faster on a CPU, nearly the same answers; safetensors: "
        "the evaluated network, on the GPU if there is one",
    )
    text_column: str | None = Field(
        default=None,
        min_length=1,
        description="column of the texts (of the contexts, for question answering); null: text, or "
        "context",
    )
    second_column: str | None = Field(
        default=None,
        min_length=1,
        description="column of what is read with each text, where two are: null: text_b, or "
        "question",
    )
    id_column: str | None = Field(
        default=None,
        description="column of strings or integers to copy, so that answers can be joined; "
        "null: rows are known by file and line",
    )
    file_format: FileFormat | None = Field(
        default=None, description="how the input is written; null: as its name ends"
    )
    probabilities: bool = Field(
        default=False,
        description="whether classifiers write the probability of every class too: 4 bytes a class "
        "a row",
    )
    batch_tokens: int = Field(
        default=1024,
        ge=64,
        description="padded tokens a forward pass: large enough to fill a core, small enough for "
        "its cache (256 to 4,096 were alike, 16,384 a third slower); bounds memory",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="arithmetic of the variant safetensors; auto is bf16 where the hardware "
        "multiplies it natively (emulated, it was six times slower than fp32)",
    )
    max_unscored_rate: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="nothing is written if a larger share of rows cannot be scored, 0 to 1",
    )


class ScoringReport(Frozen):
    """What a run of batch scoring came to."""

    num_rows: int = Field(description="rows of the input, all of them rows of the output")
    num_scored: int = Field(description="rows with an answer")
    unscored: dict[str, int] = Field(description="rows without one, by reason")
    num_truncated: int = Field(description="texts cut at the student's length")
    num_tokens: int = Field(description="tokens read, special ones included")
    labels: dict[str, int] = Field(
        description="answers by label: of rows, of entities by type, or answer and no answer"
    )
    seconds: float = Field(description="from the first row to the complete file")

    @property
    def texts_per_second(self) -> float:
        """Scored texts a second: reading, tokenising, the network and writing."""
        return self.num_scored / max(self.seconds, 1e-9)


def score(
    model: Path,
    source: str,
    output: Path,
    config: ScoringConfig | None = None,
    *,
    progress: Progress | None = None,
) -> ScoringReport:
    """Label the texts of `source` with the student in `model` and write them to `output`.

    Args:
        model: a delivered student's folder (see `tasks.serving.delivered`).
        source: URI of a file, folder or glob of files of one format.
        output: Parquet file; replaced if it exists, and only by a complete one.
    Raises:
        SourceError: the input cannot be read as what it is said to be.
        UserError: the output cannot be written there, or another run is writing it.
        ContractViolation: more rows than `max_unscored_rate` cannot be scored.
    """
    config = config or ScoringConfig()
    progress = progress or SilentProgress()
    read = Model.at(model)
    asked = answering(read, probabilities=config.probabilities)
    files = text_files(
        source, file_format=config.file_format, columns=_columns(asked, config, read.problem)
    )
    network = load_network(
        model,
        config.variant,
        pad_token_id=int(read.serving["pad_token_id"]),
        batch_tokens=config.batch_tokens,
        precision=config.precision,
    )
    if output.resolve() in {file.path.resolve() for file in files}:
        raise UserError(
            f"{output} is the input itself",
            rule="the output replaces what lies at its path",
            remedy="name another file",
        )
    started = time.monotonic()
    tally = _Tally()
    progress.start("scoring", total=sum(file.count_rows() for file in files), unit="texts")
    with _complete_or_absent(output) as stream:
        schema = _schema(asked, read.labels, config)
        with pq.ParquetWriter(
            stream, schema, compression="zstd", write_page_checksum=True, version="2.6"
        ) as writer:
            for table in _answers(files, read, asked, network, schema, tally):
                writer.write_table(table)
                progress.advance(table.num_rows)
        _check_rate(tally, config)
    return tally.report(seconds=time.monotonic() - started)


class _Tally:
    """Counts over all batches."""

    def __init__(self) -> None:
        self.num_rows = self.num_truncated = self.num_tokens = 0
        self.unscored: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()

    def report(self, *, seconds: float) -> ScoringReport:
        return ScoringReport(
            num_rows=self.num_rows,
            num_scored=self.num_rows - self.unscored.total(),
            unscored=dict(self.unscored.most_common()),
            num_truncated=self.num_truncated,
            num_tokens=self.num_tokens,
            labels=dict(self.labels.most_common()),
            seconds=seconds,
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


def _answers(
    files: list[TextFile],
    model: Model,
    asked: Answering,
    network: Network,
    schema: pa.Schema,
    tally: _Tally,
) -> Iterator[pa.Table]:
    """Output rows batch by batch: while one is scored, the next is read and tokenised."""
    waiting: tuple[_Prepared, Future[np.ndarray]] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="score") as scorer:
        for file in files:
            for batch in file.batches():
                if not batch.num_rows:
                    continue
                prepared = _prepare(file.label, batch, model, asked, tally)
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
    ids = [*batch.labels, *[None] * len(batch.rejected)]
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


def _columns(asked: Answering, config: ScoringConfig, problem: str) -> dict[str, str]:
    """What is wanted -> column of the file: the readers know the main text as `text`."""
    main, *further = asked.columns
    if config.second_column and not further:
        raise UserError(
            f"second_column is {config.second_column!r}, and a model for {problem} reads one text",
            rule="only pairs of texts, and questions with contexts, have a second column",
            remedy="leave it out",
        )
    wanted = {"text": config.text_column or main}
    wanted |= {name: config.second_column or name for name in further}
    return {**wanted, **({"label": config.id_column} if config.id_column else {})}


def _schema(asked: Answering, labels: list[str], config: ScoringConfig) -> pa.Schema:
    fields = [pa.field("file", pa.string()), pa.field("line", pa.int64())]
    if config.id_column is not None:
        fields.append(pa.field("id", pa.string()))
    fields += [*asked.fields, pa.field("reason", pa.string())]
    return pa.schema(fields, {"labels": json.dumps(labels, ensure_ascii=False)})


def _check_rate(tally: _Tally, config: ScoringConfig) -> None:
    unscored = tally.unscored.total()
    if unscored > config.max_unscored_rate * tally.num_rows:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in tally.unscored.items())
        raise ContractViolation(
            f"{unscored:,} of {tally.num_rows:,} rows cannot be scored: {reasons}",
            rule=f"at most {config.max_unscored_rate:.1%} may be (max_unscored_rate)",
            remedy="correct the input, name another text column, or allow a larger share; nothing "
            "was written",
        )


@contextmanager
def _complete_or_absent(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose bytes appear at `path` in one rename, once the block ends well.

    The partial file has one name, so a killed run leaves at most one, which the next run takes
    over; the lock on it keeps a second run of now away.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}",
            rule="the output is a file in a folder that this user may write to",
            remedy="name another file",
        ) from error
    with os.fdopen(descriptor, "wb") as stream:
        if not _is_ours(descriptor, partial):
            raise UserError(
                f"another run is writing {path}",
                rule="one run writes an output at a time",
                remedy="wait for it, or name another file",
            )
        os.ftruncate(descriptor, 0)
        try:
            yield stream
            stream.flush()
            os.fsync(descriptor)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _is_ours(descriptor: int, partial: Path) -> bool:
    """Lock the partial file; False if another run holds it, or has just given it its final name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), partial.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
