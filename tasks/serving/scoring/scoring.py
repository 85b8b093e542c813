"""Batch scoring: a delivered student reads a file of texts and writes its answers beside them.

    files ─ rows in batches ─ answers (scored_rows.py) ─► one Parquet file, one row a row of input

Memory is flat whatever the files' size. Every row of the input is a row of the output: what cannot
be scored has null answers and a reason. The output appears under its name only when it is complete.
In shards, over many processes or machines: `tasks.scoring`.

Columns: `file`, `line` (as an editor or the Parquet file counts rows, from 1), `id` (of a column of
the input, if named), the answer's own (see `answering.py`; class order of probabilities in the
schema's metadata, key `labels`), `reason`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from pydantic import Field

from data_contracts.artifacts import Frozen
from data_contracts.errors import ContractViolation, UserError
from tasks.runtime.progress import Progress, SilentProgress
from tasks.serving.scoring.networks import Network, Variant, load_network
from tasks.serving.scoring.output import complete_or_absent, refuse_no_file
from tasks.serving.scoring.prediction import Answering, Model, answering
from tasks.serving.scoring.scored_rows import ScoringCounts, output_schema, write_answers
from tasks.serving.scoring.texts import text_files

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


class ScoringReport(ScoringCounts):
    """What a run of batch scoring came to, and how long it took."""

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

    Of a model with one answer a text, equal texts in one batch of the reader (8,192 rows at most)
    get the same answer to the bit. Others may differ within the rounding of int8 or bf16, which
    depends on the texts they are read beside.

    Args:
        model: a delivered student's folder (see `tasks.serving.bundle.delivered`).
        source: URI of a file, folder or glob of files of one format.
        output: Parquet file, or a link to one; replaced if it exists, and only by a complete one.
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
        source, file_format=config.file_format, columns=input_columns(asked, config, read.problem)
    )
    if output.resolve() in {file.path.resolve() for file in files}:
        raise UserError(
            f"{output} is the input itself",
            rule="the output replaces what lies at its path",
            remedy="name another file",
        )
    refuse_no_file(output)
    network = network_of(read, config)
    started = time.monotonic()
    progress.start("scoring", total=sum(file.count_rows() for file in files), unit="texts")
    batches = ((file.label, batch) for file in files for batch in file.batches())
    schema = output_schema(asked, read.labels, has_id=config.id_column is not None)
    with complete_or_absent(output.resolve()) as stream:  # a link stays one
        counts = write_answers(stream, batches, read, asked, network, schema, progress=progress)
        check_unscored(counts, config.max_unscored_rate)
    return ScoringReport(**counts.model_dump(), seconds=time.monotonic() - started)


def network_of(model: Model, config: ScoringConfig) -> Network:
    """The form of the student that `config` names. Raises: SourceError if there is none."""
    return load_network(
        model.folder,
        config.variant,
        pad_token_id=int(model.serving["pad_token_id"]),
        batch_tokens=config.batch_tokens,
        precision=config.precision,
    )


def input_columns(asked: Answering, config: ScoringConfig, problem: str) -> dict[str, str]:
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


def check_unscored(counts: ScoringCounts, max_unscored_rate: float) -> None:
    """Raise ContractViolation if a larger share of rows has no answer."""
    unscored = counts.num_rows - counts.num_scored
    # Divided, not multiplied: 0.29 x 100 is a little less than 29.
    if unscored and unscored / counts.num_rows > max_unscored_rate:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.unscored.items())
        raise ContractViolation(
            f"{unscored:,} of {counts.num_rows:,} rows cannot be scored: {reasons}",
            rule=f"at most {max_unscored_rate:.1%} may be (max_unscored_rate)",
            remedy="correct the input, name another text column, or allow a larger share; nothing "
            "was written",
        )
