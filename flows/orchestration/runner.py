"""Runner: walks the pipeline and runs each step, directly or as a Prefect task.

The two ways differ only in `call`, which gets one step done: `run_stage` itself, or a task around
it (`tasks.policies.run_as_task`). Everything else is here once: what is forced, what is remembered,
who is told, and which steps run side by side (`side_by_side.py`).
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from data_contracts.artifacts import Artifact
from data_contracts.errors import UserError
from flows.orchestration.processes import Job, expect_children, run_side_by_side
from flows.pipeline import run_steps, small_steps, step_names
from flows.preflight.refusals import check_before_run
from flows.recipe.base import RecipeBase
from flows.runs.pointers import RunLog, RunningRun
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.progress import Progress, SilentProgress
from tasks.runtime.stages import RunStage, Stage, StageConfig, StageOutcome, run_stage


class Listener(Protocol):
    """Hears when steps begin and end; several may run at once, each called from its own thread."""

    def say(self, message: str) -> None:
        """One line worth reading that belongs to no step."""

    def step_started(self, name: str) -> Progress:
        """Step `name` begins: its key is being looked up. Gives who hears what it reports."""
        ...

    def step_finished(self, name: str, outcome: StageOutcome, seconds: float) -> None:
        """Step `name` gave its artifact, cached or built, after `seconds`."""

    def step_left(self, name: str) -> None:
        """Nothing more is heard of step `name`, which may have given nothing."""


class SilentListener:
    """Listens to nothing."""

    def say(self, message: str) -> None:
        """Ignore it."""

    def step_started(self, name: str) -> Progress:
        """Ignore it."""
        return SilentProgress()

    def step_finished(self, name: str, outcome: StageOutcome, seconds: float) -> None:
        """Ignore it."""

    def step_left(self, name: str) -> None:
        """Ignore it."""


# A context variable, because a flow's parameters must be JSON and a console is not.
LISTENER: ContextVar[Listener | None] = ContextVar("LISTENER", default=None)


@dataclass(frozen=True)
class Options:
    """How a run goes about it; nothing here changes what comes out.

    Args:
        force: steps that are built again even if they are cached.
        start_from: a step that is built again together with every step that depends on it.
        workers: parallel workers a data stage may use, and small students trained side by side.
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
        run: RunStage,
    ) -> StageOutcome:
        """See `tasks.runtime.stages.run_stage`; `name` is the step's, `run` here or in a child."""
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
    run: RunStage,
) -> StageOutcome:
    """Run the stage without an orchestrator."""
    return run(
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


# What a step hands on: itself finished, or its job, run when somebody needs it.
Handle = Finished | Job[Finished]


class Runner:
    """The meaning of a step when it is run.

    A step that computes on one thread is put aside until a step needs it or all cores: then all
    that were put aside run side by side. They are consecutive lines of the pipeline that do not
    depend on one another, or waiting for an input has run those before them.
    """

    def __init__(
        self,
        store: ArtifactStore,
        log: RunLog,
        running: RunningRun,
        options: Options,
        call: Call,
        listener: Listener,
        num_small: int = 0,
        expect: Callable[[], None] = expect_children,
    ) -> None:
        """Run with `call`, telling `listener` and remembering in `log`.

        Args:
            num_small: steps of the pipeline that will run side by side in child processes.
            expect: called when a step was built and several of those are still to come: they
                depend on it, so they will not be cached either.
        """
        self._store = store
        self._log = log
        self._running = running
        self._options = options
        self._call = call
        self._listener = listener
        self._num_small_ahead = num_small
        self._expect = expect
        self._put_aside: list[Job[Finished]] = []
        self.artifacts: dict[str, Artifact] = {}

    def __call__(self, name: str, stage: Stage, config: StageConfig, /, **inputs: Handle) -> Handle:
        """Run step `name` on the artifacts of its inputs, or put it aside."""
        known = {key: self._finished(handle) for key, handle in inputs.items()}
        job = Job(name, lambda run: self._run(name, stage, config, known, run))
        if stage.on_one_thread and stage.on_one_thread(config):
            self._put_aside.append(job)
            self._num_small_ahead -= 1
            return job
        self.finish()
        self._running.step = name
        return job.function(run_stage)

    def finish(self) -> None:
        """Run what was put aside.

        Raises: what the first step that failed has raised.
        """
        jobs, self._put_aside = self._put_aside, []
        run_side_by_side(jobs, limit=self._options.workers, on_failure=self._failed)

    def _failed(self, name: str) -> None:
        self._running.step = name

    def _finished(self, handle: Handle) -> Finished:
        if isinstance(handle, Finished):
            return handle
        if handle.given is None:
            self.finish()
        assert handle.given is not None, f"step {handle.name} was neither run nor put aside"
        return handle.given

    def _run(
        self,
        name: str,
        stage: Stage,
        config: StageConfig,
        inputs: Mapping[str, Finished],
        run: RunStage,
    ) -> Finished:
        options = self._options
        rebuild_dependents = name == options.start_from or any(
            finished.rebuild_dependents for finished in inputs.values()
        )
        started = time.monotonic()
        outcome = self._call(
            name,
            stage,
            config,
            {key: finished.artifact for key, finished in inputs.items()},
            store=self._store,
            progress=self._listener.step_started(name),
            workers=options.workers,
            force=rebuild_dependents or name in options.force,
            run_id=options.run_id or self._running.name,
            run=run,
        )
        seconds = time.monotonic() - started
        if not outcome.cached and self._num_small_ahead > 1:
            self._expect()
        self._log.write_step(self._running.name, name, outcome, seconds)
        self._listener.step_finished(name, outcome, seconds)
        self.artifacts[name] = outcome.artifact
        return Finished(outcome.artifact, rebuild_dependents)


def check_steps(recipe: RecipeBase, options: Options) -> None:
    """Refuse options that name a step which `recipe` does not have.

    Raises: UserError with its steps, and the one whose name is nearest.
    """
    names = step_names(recipe)
    for name in (*options.force, *((options.start_from,) if options.start_from else ())):
        if name not in names:
            # Steps are often called by the beginning of their name: "eval", "student".
            close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            raise UserError(
                f"recipe {recipe.name}: no step is called {name!r}",
                rule=f"its steps are: {', '.join(names)}",
                remedy=f"did you mean {close[0]}?" if close else "name one of them",
            )


def run_pipeline(
    recipe: RecipeBase,
    *,
    store: ArtifactStore,
    options: Options,
    call: Call = call_directly,
) -> dict[str, Artifact]:
    """Run every step of `recipe`; the artifact of each, by step name.

    Raises: UserError if the options name a step that the recipe does not have or a gate could not
        be measured, and whatever a stage raises; finished steps stay cached.
    """
    check_before_run(recipe)
    check_steps(recipe, options)
    names = step_names(recipe)
    log = RunLog(store.root, recipe.name)
    listener = LISTENER.get() or SilentListener()
    with log.run(tuple(names)) as running:
        num_small = len(small_steps(recipe)) if options.workers > 1 else 0
        runner = Runner(store, log, running, options, call, listener, num_small)
        run_steps(recipe, runner)
        runner.finish()
    return runner.artifacts
