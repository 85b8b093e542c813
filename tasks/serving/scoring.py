"""Batch scoring: a delivered student reads a file of texts and writes labels beside them.

    rows in batches ─ normalise ─ tokenise ─ network ─ softmax ─► Parquet, one row a row of input
          └── broken, null, empty ──────────────── reason ──────────┘

One batch is scored while the next is read and tokenised, so memory is flat whatever the file's
size. Every row of the input is a row of the output: what cannot be scored has a null label and a
reason. The output appears under its name only when it is complete.

Columns: `file`, `line` (as an editor or the Parquet file counts rows, from 1), `id` (of a column of
the input, if named), `label`, `score`, `probabilities` (if asked; class order in the schema's
metadata, key `labels`), `reason`.
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
from typing import IO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError
from tokenizers import Tokenizer

from data_contracts.artifacts import Frozen
from data_contracts.errors import ContractViolation, CorruptArtifact, UserError
from tasks.corpus.encoding import Encoder
from tasks.corpus.normalization import NormalizationConfig, normalize
from tasks.corpus.raw_rows import RawBatch
from tasks.runtime.device import thread_count
from tasks.runtime.progress import Progress, SilentProgress
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
    text_column: str = Field(default="text", min_length=1, description="column of the texts")
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
        description="whether to write the probability of every class: 4 bytes a class a row",
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
    num_scored: int = Field(description="rows with a label")
    unscored: dict[str, int] = Field(description="rows without one, by reason")
    num_truncated: int = Field(description="texts cut at the student's length")
    num_tokens: int = Field(description="tokens read, special ones included")
    labels: dict[str, int] = Field(description="rows by label")
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
    files = text_files(
        source,
        file_format=config.file_format,
        text_column=config.text_column,
        id_column=config.id_column,
    )
    reader = _Reader(model)
    network = load_network(
        model,
        config.variant,
        pad_token_id=reader.pad_token_id,
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
        schema = _schema(reader.labels, config)
        with pq.ParquetWriter(
            stream, schema, compression="zstd", write_page_checksum=True, version="2.6"
        ) as writer:
            for table in _answers(files, reader, network, config, schema, tally):
                writer.write_table(table)
                progress.advance(table.num_rows)
        _check_rate(tally, config)
    return tally.report(reader.labels, seconds=time.monotonic() - started)


class _Reader:
    """What a delivered student's folder says about texts and answers."""

    def __init__(self, model: Path) -> None:
        try:
            serving = json.loads((model / "serving.json").read_text(encoding="utf-8"))
            self.labels = json.loads((model / "labels.json").read_text(encoding="utf-8"))["labels"]
            self.pad_token_id = int(serving["pad_token_id"])
            self.normalization = NormalizationConfig.model_validate(serving["normalization"])
            max_length_tokens = int(serving["max_length_tokens"])
            tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        except (OSError, ValueError, KeyError, ValidationError) as error:
            raise CorruptArtifact(
                f"{model} cannot be read: {error}",
                rule="a delivered student has serving.json, labels.json and tokenizer.json",
                remedy="export the student again, or fetch it again from the registry",
            ) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.max_length_tokens = max_length_tokens
        self.encoder = Encoder(
            tokenizer,
            max_length_tokens=max_length_tokens,
            unknown_id=None,
            workers=thread_count(),
        )


class _Tally:
    """Counts over all batches."""

    def __init__(self) -> None:
        self.num_rows = self.num_truncated = self.num_tokens = 0
        self.unscored: Counter[str] = Counter()
        self.labels: Counter[int] = Counter()

    def report(self, names: list[str], *, seconds: float) -> ScoringReport:
        return ScoringReport(
            num_rows=self.num_rows,
            num_scored=self.num_rows - self.unscored.total(),
            unscored=dict(self.unscored.most_common()),
            num_truncated=self.num_truncated,
            num_tokens=self.num_tokens,
            labels={names[index]: count for index, count in self.labels.most_common()},
            seconds=seconds,
        )


@dataclass(frozen=True)
class _Prepared:
    """A batch ready to be scored: N rows of input, of which `places` have tokens."""

    file: str
    lines: np.ndarray
    ids: list[str | None]
    reasons: list[str | None]
    places: np.ndarray
    input_ids: pa.ListArray


def _answers(
    files: list[TextFile],
    reader: _Reader,
    network: Network,
    config: ScoringConfig,
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
                prepared = _prepare(file.label, batch, reader, tally)
                due, waiting = (
                    waiting,
                    (
                        prepared,
                        scorer.submit(network.logits, prepared.input_ids),
                    ),
                )
                if due is not None:
                    yield _table(*due, reader, config, schema, tally)
        if waiting is not None:
            yield _table(*waiting, reader, config, schema, tally)


def _prepare(file: str, batch: RawBatch, reader: _Reader, tally: _Tally) -> _Prepared:
    """Normalise and tokenise; rows in the order of the input, broken ones among them."""
    texts = [normalize(text, reader.normalization)[0] for text in batch.texts]
    lines = np.array([*batch.lines, *(row.line for row in batch.rejected)], dtype=np.int64)
    reasons: list[str | None] = [None if text else "empty_text" for text in texts]
    reasons += [row.reason for row in batch.rejected]
    ids = [*batch.labels, *[None] * len(batch.rejected)]
    readable = np.array([row for row, text in enumerate(texts) if text], dtype=np.int64)
    encoded = reader.encoder.encode(
        pa.chunked_array([[texts[row] for row in readable]], pa.string())
    )
    order = np.argsort(lines, kind="stable")
    place_of = np.empty_like(order)
    place_of[order] = np.arange(len(order))
    tally.num_rows += len(lines)
    tally.unscored.update(reason for reason in reasons if reason)
    tally.num_tokens += len(encoded.input_ids.values)
    tally.num_truncated += int((encoded.lengths > reader.max_length_tokens).sum())
    return _Prepared(
        file=file,
        lines=lines[order],
        ids=[ids[row] for row in order],
        reasons=[reasons[row] for row in order],
        places=place_of[readable],
        input_ids=encoded.input_ids,
    )


def _table(
    prepared: _Prepared,
    scored: Future[np.ndarray],
    reader: _Reader,
    config: ScoringConfig,
    schema: pa.Schema,
    tally: _Tally,
) -> pa.Table:
    num_rows = len(prepared.lines)
    probabilities = np.zeros((num_rows, len(reader.labels)), dtype=np.float32)
    if len(prepared.places):
        probabilities[prepared.places] = _softmax(scored.result())
    unscored = np.ones(num_rows, dtype=bool)
    unscored[prepared.places] = False
    best = probabilities.argmax(axis=1)
    tally.labels.update(best[prepared.places].tolist())
    names = pa.array(reader.labels, pa.string())
    columns = {
        "file": pa.repeat(pa.scalar(prepared.file), num_rows),
        "line": pa.array(prepared.lines),
        "id": pa.array(prepared.ids, pa.string()),
        "label": names.take(pa.array(best, mask=unscored)),
        "score": pa.array(probabilities.max(axis=1, initial=0), pa.float32(), mask=unscored),
        "probabilities": _lists(probabilities, unscored),
        "reason": pa.array(prepared.reasons, pa.string()),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _lists(rows: np.ndarray, missing: np.ndarray) -> pa.ListArray:
    """One list a row, null where missing. Not of fixed size: Parquet cannot read nulls among those
    (pyarrow 25: "Expected all lists to be of size=40 but index 3 had size=0")."""
    offsets = np.concatenate([[0], np.cumsum(~missing)]) * rows.shape[1]
    values = pa.array(rows[~missing].ravel(), pa.float32())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=pa.array(missing))


def _softmax(logits: np.ndarray) -> np.ndarray:
    """In float64, as the served model computes it: float32 logits, (texts, C)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _schema(labels: list[str], config: ScoringConfig) -> pa.Schema:
    fields = [pa.field("file", pa.string()), pa.field("line", pa.int64())]
    if config.id_column is not None:
        fields.append(pa.field("id", pa.string()))
    fields += [pa.field("label", pa.string()), pa.field("score", pa.float32())]
    if config.probabilities:
        fields.append(pa.field("probabilities", pa.list_(pa.float32())))
    fields.append(pa.field("reason", pa.string()))
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
