"""Batch scoring in shards: a delivered student answers files of texts, part by part.

    model ─────────────────┐
    files ─ split ─► part ─► scores_shard ─► part-00000.parquet ┐
                     part ─► scores_shard ─► part-00001.parquet ├─► scores
                     part ─► ...                                ┘

Each shard is an artifact of its own, keyed by the model's and the part's bytes: a kill costs the
shards in work, and a new file is scored alone.
The answers are those of `tasks.serving.scoring.scoring`, which scores in one process: to the bit on
machines of one kind with equal threads, whose products are rounded alike. The texts themselves are
in the work directory only as long as the run lasts, or after a kill until the next one.

    scores: part-NNNNN.parquet   a row a row of input, in order; columns as in that module
            _scores.json         the counts: rows in = rows with an answer + rows with a reason
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from data_contracts.artifacts import Artifact, RowCounts, StageSummary
from tasks.runtime.files.remote_files import is_bookkeeping
from tasks.runtime.fingerprint import file_digest
from tasks.runtime.shards import Shard, run_shards
from tasks.runtime.stages import Stage, StageConfig, Workspace
from tasks.serving.scoring.prediction import Model, answering
from tasks.serving.scoring.scored_rows import ScoringCounts, output_schema, write_answers
from tasks.serving.scoring.scoring import ScoringConfig, check_unscored, input_columns, network_of
from tasks.serving.scoring.text_parts import part_batches, split_texts
from tasks.serving.scoring.texts import text_files

VERSION = 4
SUMMARY = "_scores.json"  # the underscore hides it from readers of Parquet folders
_PART = "part.parquet"
_COUNTS = "counts.json"


class ModelConfig(StageConfig):
    """The student that answers."""

    folder: str = Field(description="folder of a delivered student's model files")

    def locations(self) -> tuple[str, ...]:
        """Its bytes are the key."""
        return (self.folder,)


class Config(StageConfig):
    """Which texts are scored, how, and how they are shared out."""

    source: str = Field(description="URI of a file, folder or glob of files of one format")
    file_names: tuple[str, ...] = Field(
        description="names of these files, which the output tells with every row"
    )
    scoring: ScoringConfig = Field(description="how; its precision is resolved")
    rows_per_shard: int = Field(
        100_000,
        ge=1,
        description="rows after which a shard ends, rounded up to whole batches of the readers "
        "(8,192 rows) and ending with each file; more: less overhead, less spread",
    )

    def locations(self) -> tuple[str, ...]:
        """The texts' bytes are part of the key."""
        return (self.source,)


class ShardConfig(StageConfig):
    """What defines the answers of one part, beside the model."""

    part_sha256: str = Field(description="digest of the part: texts, lines and the file's name")
    scoring: ScoringConfig = Field(description="as in Config, without what concerns the whole")


def config_for(source: str, scoring: ScoringConfig, *, rows_per_shard: int) -> Config:
    """The configuration for the files at `source`, with what this machine decides resolved.

    Raises: SourceError if no file is there, or a name does not tell its format.
    """
    from tasks.runtime.machine.device import resolve_precision

    if scoring.variant == "safetensors":
        precision = resolve_precision(scoring.precision)
        scoring = scoring.model_copy(update={"precision": precision})
    files = text_files(source, file_format=scoring.file_format, columns={})
    return Config(
        source=source,
        file_names=tuple(file.label for file in files),
        scoring=scoring,
        rows_per_shard=rows_per_shard,
    )


def keep_model(
    config: ModelConfig, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """Copy the student into the store, where every machine that scores a shard finds it."""
    del inputs

    def left_out(folder: str, names: list[str]) -> list[str]:
        """What the key leaves out, too."""
        return [name for name in names if is_bookkeeping(name) and Path(folder, name).is_dir()]

    shutil.copytree(config.folder, workspace.output / "model", ignore=left_out)
    return StageSummary()


def score(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Score the files shard by shard.

    Raises:
        SourceError: the input cannot be read as what it is said to be.
        ContractViolation: more rows than `max_unscored_rate` cannot be scored.
    """
    model = Model.at(inputs["model"].path / "model")
    asked = answering(model, probabilities=config.scoring.probabilities)
    columns = input_columns(asked, config.scoring, model.problem)
    files = text_files(config.source, file_format=config.scoring.file_format, columns=columns)
    folder = workspace.work / "parts"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed while it split
    folder.mkdir(parents=True)
    parts = split_texts(files, folder, rows_per_shard=config.rows_per_shard)
    # Limits of the whole, and names that the part has done with, are no business of a shard.
    alone = config.scoring.model_copy(
        update={"max_unscored_rate": 1.0, "file_format": None, "text_column": None}
        | {"second_column": None, "id_column": "id" if config.scoring.id_column else None}
    )
    shards = [
        Shard(
            Stage("scores_shard", VERSION, _score_part(part)),
            ShardConfig(part_sha256=file_digest(part), scoring=alone),
            {"model": inputs["model"]},
        )
        for part in parts
    ]
    workspace.progress.start("scoring", total=len(shards), unit="shards")
    total, num_reused = ScoringCounts(), 0
    for part, outcome in zip(parts, run_shards(shards, workspace), strict=True):
        done = outcome.artifact.path
        shutil.copyfile(done / _PART, workspace.output / part.name)
        total += ScoringCounts.model_validate_json((done / _COUNTS).read_text(encoding="utf-8"))
        num_reused += outcome.cached
        workspace.progress.advance(1)
    check_unscored(total, config.scoring.max_unscored_rate)
    (workspace.output / SUMMARY).write_text(
        total.model_dump_json(indent=2) + "\n", encoding="utf-8"
    )
    return _summary(total, shards=len(shards), shards_reused=num_reused)


def _score_part(part: Path):
    """The function of one shard's stage; where the part lies defines nothing."""

    def score_part(
        config: ShardConfig, inputs: Mapping[str, Artifact], workspace: Workspace
    ) -> StageSummary:
        model = Model.at(inputs["model"].path / "model")
        asked = answering(model, probabilities=config.scoring.probabilities)
        schema = output_schema(asked, model.labels, has_id=config.scoring.id_column is not None)
        with (workspace.output / _PART).open("wb") as stream:
            counts = write_answers(
                stream,
                part_batches(part),
                model,
                asked,
                network_of(model, config.scoring),
                schema,
                progress=workspace.progress,
            )
        (workspace.output / _COUNTS).write_text(counts.model_dump_json(), encoding="utf-8")
        return _summary(counts)

    return score_part


def _summary(counts: ScoringCounts, **facts: int) -> StageSummary:
    return StageSummary(
        row_counts=RowCounts(
            rows_in=counts.num_rows, rows_out=counts.num_scored, quarantined=counts.unscored
        ),
        facts={"tokens": counts.num_tokens, "truncated": counts.num_truncated, **facts},
    )


MODEL_STAGE = Stage("scored_model", VERSION, keep_model)
STAGE = Stage("scores", VERSION, score)
