"""Teacher signals: each teacher reads every row once; students reuse what it said.

    teacher, tokens → teacher_signals
        <role>/part-NNNNN.parquet   example_id, logits (float32, one a class, of the text or of each
                                    of its units; what a problem keeps: its signals contract)
        labels.json                 class order of the logits
        thresholds.json             what else decides, where the teacher has it: its own, as tuned

Each part is an artifact of its own, keyed by the teacher's and the part's bytes: new data is scored
alone, a kill costs one part, and every student, seed and tuning trial shares the result. Logits are
float32 in evaluation mode: 4 bytes a class is nothing beside the forward pass that made them. A
process loads the teacher once for all of its parts and gives it up when there are no more; where
all parts are read here, it is compiled if together they are worth it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from data_contracts.artifacts import THRESHOLDS_FILE, Artifact, StageSummary
from tasks.runtime.machine.keeping import Kept
from tasks.runtime.shards import SHARD_RUNNER, Shard, run_shards
from tasks.runtime.stages import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    from tasks.modeling.heads.classifier import EncoderWithHead

VERSION = 5
_PART_VERSION = 4

Role = Literal["train", "transfer", "validation", "test"]


class Config(StageConfig):
    """What the teacher is asked to read, and how."""

    roles: tuple[Role, ...] = Field(
        ("transfer", "validation", "test"), min_length=1, description="rows the teacher reads"
    )
    batch_tokens: int = Field(
        2048,
        ge=64,
        description="padded tokens a forward pass on a CPU, where few stay in its caches; a GPU "
        "packs texts and takes as many as fit",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="arithmetic; auto is bf16 where the hardware multiplies it natively"
    )


class PartConfig(StageConfig):
    """One part of the tokens: all that defines its signals beside the teacher."""

    batch_tokens: int = Field(description="as in Config")
    precision: Literal["auto", "fp32", "bf16"] = Field(description="as in Config")
    part: str = Field(description="path of the part inside the tokens artifact")
    part_sha256: str = Field(description="digest of that part: the tokens a row was read as")


def read_signals(
    config: Config, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """Run the teacher over the rows of `config.roles`, part by part."""
    import shutil

    from tasks.corpus.tables import part_paths

    teacher, tokens = inputs["teacher"], inputs["tokens"]
    digests = {entry.path: entry.sha256 for entry in tokens.manifest.files}
    names = [
        path.relative_to(tokens.path).as_posix() for path in part_paths(tokens.path, config.roles)
    ]
    # Elsewhere a process may read one part and end: only here do all parts share a network.
    is_here = SHARD_RUNNER.get() is None
    score_part = _score_part_of(
        tokens.path, planned_tokens=_num_tokens(tokens.path, config.roles) if is_here else 0
    )
    shards = [
        Shard(
            Stage("teacher_signals_part", _PART_VERSION, score_part),
            PartConfig(
                batch_tokens=config.batch_tokens,
                precision=config.precision,
                part=name,
                part_sha256=digests[name],
            ),
            {"teacher": teacher},
        )
        for name in names
    ]
    num_rows = num_reused = 0
    try:
        outcomes = run_shards(shards, workspace, progress=workspace.progress)
        for name, outcome in zip(names, outcomes, strict=True):
            target = workspace.output / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(outcome.artifact.path / "part.parquet", target)
            num_rows += int(outcome.artifact.manifest.facts["rows"])
            num_reused += outcome.cached
    finally:
        _TEACHER.drop()  # the device's memory belongs to the next step
    for name in ("labels.json", THRESHOLDS_FILE):
        if (deciding := teacher.path / "model" / name).is_file():
            shutil.copyfile(deciding, workspace.output / name)
    return StageSummary(facts={"rows": num_rows, "parts_reused": num_reused})


def _num_tokens(tokens: Path, roles: tuple[Role, ...]) -> int:
    """Tokens of these roles, as far as tokens.json tells."""
    from tasks.corpus.tokens.facts import read_token_facts

    counts = read_token_facts(tokens).get("num_tokens", {})
    return sum(counts.get(role, 0) for role in roles)


def _load(folder: Path, content_digest: str) -> EncoderWithHead:
    from tasks.problems import load_model

    del content_digest  # of the artifact: a forced run may put another teacher into the folder
    return load_model(folder)


_TEACHER = Kept(_load)


def _teacher(folder: Path, content_digest: str) -> AbstractContextManager[EncoderWithHead]:
    """The teacher in `folder`, on the CPU until it is moved; loaded once for a process's parts.

    A process keeps one, until it has asked nothing for a minute: it may be one of a pool, which
    lives on while students are trained.
    """
    return _TEACHER.using(folder, content_digest)


def _score_part_of(tokens: Path, *, planned_tokens: int):
    """The function of one part's stage.

    Args:
        tokens: where the part lies, which defines nothing.
        planned_tokens: of all parts that this process reads; 0 if it is not known.
    """

    def score_part(
        config: PartConfig, inputs: Mapping[str, Artifact], workspace: Workspace
    ) -> StageSummary:
        import json

        from data_contracts.tables import check_table
        from tasks.corpus.tables import read_table, write_table
        from tasks.corpus.tokens.facts import read_token_facts
        from tasks.problems import PROBLEMS
        from tasks.runtime.machine.device import resolve_precision
        from tasks.training.engine.loop import place
        from tasks.training.engine.precision_probe import precision_facts
        from tasks.training.fitting.inference import predict_rows

        folder = inputs["teacher"].path / "model"
        head = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        problem = PROBLEMS[head["problem"]]
        table = read_table(tokens / config.part, columns=list(problem.token_columns))
        workspace.progress.start(f"teacher reads {config.part}", total=len(table), unit="texts")
        num_labels, facts = head["num_labels"], read_token_facts(tokens)
        precision = resolve_precision(config.precision)
        with _teacher(folder, inputs["teacher"].content_digest) as model:
            logits, answers = predict_rows(
                model.to(place()),
                problem,
                table,
                num_labels=num_labels,
                pad_token_id=facts["pad_token_id"],
                batch_tokens=config.batch_tokens,
                precision=precision,
                planned_tokens=planned_tokens,
                max_length_tokens=facts["max_length_tokens"],
                progress=workspace.progress,
            )
        # A part may hold no row that the teacher can read: its logits then have no width either.
        signals = problem.signal_table(table, logits.reshape(-1, num_labels), answers)
        check_table(signals, problem.signals_contract)
        write_table(signals, workspace.output / "part.parquet")
        return StageSummary(facts={"rows": len(table), **precision_facts(precision)})

    return score_part


STAGE = Stage("teacher_signals", VERSION, read_signals)
