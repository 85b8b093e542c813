"""Shards of a stage: each an artifact of its own, built here or wherever a runner takes them.

    teacher_signals ─► Shard, Shard, Shard ─► run_shards ─► outcomes, in order
                                                 │ here, one after the other
                                                 └ SHARD_RUNNER: Prefect tasks on Ray or processes

Where a shard is computed changes none of its bytes: the number of arithmetic threads goes with it.
Runners on other machines need the store on a path that all of them share. Those in other processes
of this machine let each begin with `end_with_parent`, so that `kill -9` of a run leaves nobody.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_contracts.artifacts import Artifact
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.progress import Progress, SilentProgress
from tasks.runtime.stages import Stage, StageConfig, StageOutcome, Workspace, find, run_stage


@dataclass(frozen=True)
class Shard:
    """One shard: a stage of its own on its own configuration and inputs."""

    stage: Stage
    config: StageConfig
    inputs: Mapping[str, Artifact]


class ShardRunner(Protocol):
    """Builds shards that are not in the store, somewhere, several at once."""

    def __call__(
        self, shards: Sequence[Shard], *, root: Path, workers: int, force: bool, run_id: str
    ) -> Iterator[StageOutcome]:
        """Outcomes in the order of `shards`; `root` is the store's, the rest as for `run_stage`."""
        ...


# A context variable, because stages know no orchestrator.
SHARD_RUNNER: ContextVar[ShardRunner | None] = ContextVar("SHARD_RUNNER", default=None)


def run_shards(
    shards: Sequence[Shard], workspace: Workspace, *, progress: Progress | None = None
) -> Iterator[StageOutcome]:
    """The artifacts of `shards`, in order.

    Args:
        workspace: of the stage that the shards belong to.
        progress: hears what a shard reports if it is built here.
    """
    progress = progress or SilentProgress()
    runner = SHARD_RUNNER.get()
    if runner is None:
        for shard in shards:
            yield run_stage(
                shard.stage,
                shard.config,
                shard.inputs,
                store=workspace.store,
                progress=progress,
                workers=workspace.workers,
                force=workspace.force,
                run_id=workspace.run_id,
            )
        return
    known: dict[int, StageOutcome] = {}
    for position, shard in enumerate(shards if not workspace.force else ()):
        found = find(
            shard.stage, shard.config, shard.inputs, store=workspace.store, progress=progress
        )
        if found:
            known[position] = found
    missing = [shard for position, shard in enumerate(shards) if position not in known]
    built = runner(
        missing,
        root=workspace.store.root,
        workers=workspace.workers,
        force=workspace.force,
        run_id=workspace.run_id,
    )
    for position in range(len(shards)):
        yield known[position] if position in known else next(built)


def run_shard(
    shard: Shard, *, root: Path, workers: int, force: bool, run_id: str, threads: int
) -> StageOutcome:
    """Build one shard in the process of a runner.

    Args:
        threads: for arithmetic, as many as the runner's caller would use: sums are rounded in
            another order with another number of threads.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    return run_stage(
        shard.stage,
        shard.config,
        shard.inputs,
        store=ArtifactStore(root),
        workers=workers,
        force=force,
        run_id=run_id,
    )


def end_with_parent() -> None:
    """Let this process end when the one that started it does, however that ends.

    A worker of a pool waits for its next task for ever: it holds both ends of that pipe itself.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)  # from a thread; what is half written is no artifact

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
