"""Batch scoring in shards: the student into the store, its answers shard by shard, into a folder.

    models:/name@champion ─► model ─┐
    files ──────────────────────────┴─► scores ─► OUTPUT/part-NNNNN.parquet, _scores.json

Both steps are stages of the store, so a run that is killed goes on where it was, and a run with
nothing new scores nothing. The answers are copied out of the store at the end, all at once.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from data_contracts.artifacts import Artifact
from data_contracts.errors import UserError
from flows.orchestration.runner import LISTENER, Call, SilentListener, call_directly
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.locations import home
from tasks.runtime.fingerprint import fingerprint
from tasks.runtime.locks import exclusive_lock
from tasks.runtime.machine.device import cpu_count
from tasks.runtime.stages import Stage, StageConfig, run_stage
from tasks.scoring import MODEL_STAGE, STAGE, SUMMARY, ModelConfig, config_for
from tasks.serving.bundle.delivered import delivered_model
from tasks.serving.scoring.scored_rows import ScoringCounts
from tasks.serving.scoring.scoring import ScoringConfig, ScoringReport

_PART = re.compile(r"part-\d{5,}\.parquet")
_FORMER_SUMMARY = "scores.json"  # folders written before 2026-11-26 have it


def score_in_shards(
    model: str,
    source: str,
    output: Path,
    config: ScoringConfig,
    *,
    rows_per_shard: int,
    call: Call = call_directly,
) -> ScoringReport:
    """Score shard by shard, each step by `call`; arguments as for `flows.scoring.score`.

    Raises:
        UserError: there is no such model, or the output is something else than earlier scores.
        SourceError: the input cannot be read as what it is said to be.
        ContractViolation: more rows than `config.max_unscored_rate` cannot be scored.
    """
    started = time.monotonic()
    output = output.resolve()  # a link stays one: what it points to is replaced
    _refuse_foreign(output)
    store = ArtifactStore(home())
    step = _Steps(store, call)
    with delivered_model(model) as folder:
        student = step("model", MODEL_STAGE, ModelConfig(folder=str(folder)))
    settings = config_for(source, config, rows_per_shard=rows_per_shard)
    scores = step("scores", STAGE, settings, model=student)
    with exclusive_lock(store.root / "locks" / f"{fingerprint(str(output))}.lock"):
        _deliver(scores, output)
    counts = ScoringCounts.model_validate_json((scores.path / SUMMARY).read_text(encoding="utf-8"))
    return ScoringReport(**counts.model_dump(), seconds=time.monotonic() - started)


class _Steps:
    """Runs the steps of one run, telling the listener."""

    def __init__(self, store: ArtifactStore, call: Call) -> None:
        self._store, self._call = store, call
        self._listener = LISTENER.get() or SilentListener()

    def __call__(
        self, name: str, stage: Stage, config: StageConfig, /, **inputs: Artifact
    ) -> Artifact:
        started = time.monotonic()
        outcome = self._call(
            name,
            stage,
            config,
            inputs,
            store=self._store,
            progress=self._listener.step_started(name),
            workers=cpu_count(),
            force=False,
            run_id="",
            run=run_stage,
        )
        self._listener.step_finished(name, outcome, time.monotonic() - started)
        return outcome.artifact


def _refuse_foreign(output: Path) -> None:
    """What lies at `output` must be ours to replace, all of it: it is replaced whole."""
    if not output.exists():
        return
    rule = f"shards go to a folder that does not exist, is empty, or has a {SUMMARY} and its parts"
    remedy = "name another folder, or remove what is there"
    if not output.is_dir() or output.is_mount():
        kind = "the root of a file system, and" if output.is_dir() else "a file, and"
        raise UserError(
            f"{output} is {kind} is no folder that scores were written to", rule=rule, remedy=remedy
        )
    found = {entry.name for entry in output.iterdir()}
    summaries = found & {SUMMARY, _FORMER_SUMMARY}
    others = sorted(name for name in found - summaries if not _PART.fullmatch(name))
    if found and (others or not summaries):
        raise UserError(
            f"{output} holds {others[0] if others else 'parts'}, and is no folder that scores "
            "were written to",
            rule=rule,
            remedy=remedy,
        )


def _deliver(scores: Artifact, output: Path) -> None:
    """Copy the answers to `output`, which then has all of them or what it had before."""
    partial, old = (output.with_name(f".{output.name}.{what}") for what in ("partial", "old"))
    try:
        shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed right here
        if old.exists() and not output.exists():
            old.rename(output)  # it was killed between the two renames below
        shutil.rmtree(old, ignore_errors=True)
        _refuse_foreign(output)  # again: scoring takes long, and somebody may have put files there
        partial.mkdir(parents=True)
        for entry in scores.manifest.files:
            shutil.copyfile(scores.path / entry.path, partial / entry.path)
            with (partial / entry.path).open("rb") as stream:
                os.fsync(stream.fileno())
        if output.exists():
            output.rename(old)
        try:
            partial.rename(output)
        except OSError:
            if old.exists():
                old.rename(output)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written: {error.strerror}",
            rule="the output is a folder below one that this user may write to",
            remedy="name another folder: the scores are kept, nothing is scored again",
        ) from error
