"""Runner: walks the pipeline and runs each step, directly or as a Prefect task.

The two ways differ only in `call`, which gets one step done: `run_stage` itself, or a task around
it (`tasks.policies.run_as_task`). Everything else is here once: what is forced, what is remembered,
who is told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from data_contracts.artifacts import Artifact
from data_contracts.errors import UserError
from flows.pipeline import pour, step_names
from flows.recipe import Recipe
from flows.runs import RunLog, RunningRun
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.progress import Progress, SilentProgress
from tasks.runtime.stages import Stage, StageConfig, StageOutcome, run_stage


class Listener(Progress, Protocol):
    """Hears when steps begin and end, and what they report in between."""

    def step_started(self, name: str) -> None:
        """Step `name` begins: its key is being looked up."""

    def step_finished(self, name: str, outcome: StageOutcome, seconds: float) -> None:
        """Step `name` gave its artifact, cached or built, after `seconds`."""


class SilentListener(SilentProgress):
    """Listens to nothing."""

    def step_started(self, name: str) -> None:
        """Ignore it."""

    def step_finished(self, name: str, outcome: StageOutcome, seconds: float) -> None:
        """Ignore it."""


# A context variable, because a flow's parameters must be JSON and a console is not.
LISTENER: ContextVar[Listener | None] = ContextVar("LISTENER", default=None)


@dataclass(frozen=True)
class Options:
    """How a run goes about it; nothing here changes what comes out.

    Args:
        force: steps that are built again even if they are cached.
        start_from: a step that is built again together with every step that depends on it.
        workers: parallel workers a data stage may use.
        run_id: identifier shared with earlier attempts at the same run, if there can be any: forced
            steps then go on from what those left. None: the run is its first attempt.
    """

    force: tuple[str, ...] = ()
    start_from: str | None = None
    workers: int = 1
    run_id: str | None = None


class Call(Protocol):
    """Gets one step done: looks the artifact up, or builds it."""

    def __call__(
        self,
        name: str,
        stage: Stage,
        config: StageConfig,
        inputs: Mapping[str, Artifact],
        *,
        store: ArtifactStore,
        progress: Progress,
        workers: int,
        force: bool,
        run_id: str,
    ) -> StageOutcome:
        """See `tasks.runtime.stages.run_stage`; `name` is the step's."""
        ...


def call_directly(
    name: str,
    stage: Stage,
    config: StageConfig,
    inputs: Mapping[str, Artifact],
    *,
    store: ArtifactStore,
    progress: Progress,
    workers: int,
    force: bool,
    run_id: str,
) -> StageOutcome:
    """Run the stage in this process, without an orchestrator."""
    return run_stage(
        stage,
        config,
        inputs,
        store=store,
        progress=progress,
        workers=workers,
        force=force,
        run_id=run_id,
    )


@dataclass(frozen=True)
class Finished:
    """A finished step: its artifact, and whether what depends on it is to be built again."""

    artifact: Artifact
    rebuild_dependents: bool


class Runner:
    """The meaning of a step when it is run."""

    def __init__(
        self,
        store: ArtifactStore,
        log: RunLog,
        running: RunningRun,
        options: Options,
        call: Call,
        listener: Listener,
    ) -> None:
        """Run with `call`, telling `listener` and remembering in `log`."""
        self._store = store
        self._log = log
        self._running = running
        self._options = options
        self._call = call
        self._listener = listener
        self.artifacts: dict[str, Artifact] = {}

    def __call__(
        self, name: str, stage: Stage, config: StageConfig, /, **inputs: Finished
    ) -> Finished:
        """Run step `name` on the artifacts of its inputs."""
        self._running.step = name
        options = self._options
        rebuild_dependents = name == options.start_from or any(
            finished.rebuild_dependents for finished in inputs.values()
        )
        started = time.monotonic()
        self._listener.step_started(name)
        outcome = self._call(
            name,
            stage,
            config,
            {key: finished.artifact for key, finished in inputs.items()},
            store=self._store,
            progress=self._listener,
            workers=options.workers,
            force=rebuild_dependents or name in options.force,
            run_id=options.run_id or self._running.name,
        )
        seconds = time.monotonic() - started
        self._log.write_step(self._running.name, name, outcome, seconds)
        self._listener.step_finished(name, outcome, seconds)
        self.artifacts[name] = outcome.artifact
        return Finished(outcome.artifact, rebuild_dependents)


def run_pipeline(
    recipe: Recipe,
    *,
    store: ArtifactStore,
    options: Options,
    call: Call = call_directly,
) -> dict[str, Artifact]:
    """Run every step of `recipe`; the artifact of each, by step name.

    Raises: UserError if the options name a step that the recipe does not have, and whatever a stage
        raises; finished steps stay cached.
    """
    names = step_names(recipe)
    for name in (*options.force, *((options.start_from,) if options.start_from else ())):
        if name not in names:
            raise UserError(
                f"no step is called {name!r}",
                rule=f"the steps of {recipe.name!r} are: {', '.join(names)}",
                remedy="name one of them",
            )
    log = RunLog(store.root, recipe.name)
    with log.run(tuple(names)) as running:
        runner = Runner(store, log, running, options, call, LISTENER.get() or SilentListener())
        pour(recipe, runner)
    return runner.artifacts
