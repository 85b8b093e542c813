"""One trial of a study: a student trained, followed by its validation figures, and its costs.

A trial that is behind the others is ended at a validation: the stage unwinds, so nothing of it is
published, and its checkpoints are removed. Training again what the store has costs nothing; its
figures are read from its history, and judged by the same rule.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from data_contracts.artifacts import Artifact
from data_contracts.errors import (
    DecantError,
    MachineExhausted,
    RecipeError,
    ResourceExhausted,
    TrainingDiverged,
)
from flows.orchestration.partial import Node
from flows.orchestration.runner import Call, Listener
from flows.recipe.recipe import Recipe
from flows.studies.costs import Costs
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.progress import Progress, StopTraining
from tasks.runtime.stages import RunStage, key_parts

if TYPE_CHECKING:
    import optuna

_TIMED_SECONDS = 1.0


@dataclass(frozen=True)
class Trial:
    """A trial in progress.

    Args:
        of_study: Optuna's own.
        recipe: the recipe with the trial's values, or why there is none.
        metric: validation figure it is judged by.
    """

    of_study: optuna.trial.Trial
    recipe: Recipe | RecipeError
    metric: str

    @property
    def number(self) -> int:
        """From 0."""
        return self.of_study.number


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: with a student and its figure, or with a reason."""

    student: Artifact | None = None
    value: float | None = None
    pruned: bool = False
    reason: str = ""

    @property
    def state(self) -> Literal["complete", "pruned", "failed"]:
        """In a word."""
        if self.student is not None and not self.pruned:
            return "complete"
        return "pruned" if self.pruned else "failed"


class _Watch:
    """Passes progress on, reports validation figures to the study, and ends a trial behind."""

    def __init__(self, trial: Trial, progress: Progress) -> None:
        self._trial, self._progress = trial, progress

    def start(self, description: str, *, total: int, unit: str) -> None:
        self._progress.start(description, total=total, unit=unit)

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        self._progress.advance(amount, note=note)

    def say(self, message: str) -> None:
        self._progress.say(message)

    def validated(self, number: int, figures: dict[str, float]) -> None:
        self._progress.validated(number, figures)
        metric = self._trial.metric
        # By number and not by step: trials may differ in the size of their steps.
        self._trial.of_study.report(figures[metric], number)
        if self._trial.of_study.should_prune():
            raise StopTraining(
                f"{metric} {figures[metric]:.4f} at validation {number} is behind the median"
            )


def run_trial(
    trial: Trial,
    node: Node,
    inputs: Mapping[str, Artifact],
    *,
    store: ArtifactStore,
    call: Call,
    listener: Listener,
    run_id: str,
    run: RunStage,
) -> Outcome:
    """Train the student of `trial`, or take it from the store.

    Args:
        node: the step of the trial's student.
        inputs: its artifacts.
        run: how the stage is run: here, or in a child process.
    Raises: MachineExhausted, and whatever else is not due to the trial's values.
    """
    watch = _Watch(trial, listener.step_started(f"trial-{trial.number}"))
    try:
        outcome = call(
            f"trial-{trial.number}",
            node.stage,
            node.config,
            inputs,
            store=store,
            progress=watch,
            workers=1,
            force=False,
            run_id=run_id,
            run=run,
        )
        history = json.loads((outcome.artifact.path / "history.json").read_text("utf-8"))
        if outcome.cached:
            for number, figures in enumerate(history["validations"], start=1):
                watch.validated(number, figures)
    except StopTraining as stop:
        parts = key_parts(node.stage, node.config, inputs)
        with store.lock(parts):
            shutil.rmtree(store.work_directory(parts), ignore_errors=True)
        return Outcome(pruned=True, reason=str(stop))
    except DecantError as error:
        if not is_of_values(error):
            raise
        return Outcome(reason=error.fact)
    finally:
        listener.step_left(f"trial-{trial.number}")
    best = next(v for v in history["validations"] if v["step"] == history["best_step"])
    return Outcome(outcome.artifact, float(best[trial.metric]))


def is_of_values(error: DecantError) -> bool:
    """Whether an error is true of a trial's values only, so that the other trials go on.

    A full machine is true of every trial: the study stops, and goes on with this one.
    """
    if isinstance(error, MachineExhausted):
        return False
    return isinstance(error, TrainingDiverged | ResourceExhausted | RecipeError)


def measure_costs(recipe: Recipe, student: Artifact, tokens: Artifact) -> Costs:
    """Size, operations and latency of a trained student, on validation rows of its tokens."""
    from flows.studies.costs import costs_of_network, validation_texts
    from tasks.problems import load_model

    speed = recipe.evaluation_config().speed
    return costs_of_network(
        load_model(student.path / "model"),
        validation_texts(tokens.path),
        num_threads=speed.num_threads,
        max_seconds=min(speed.latency_seconds, _TIMED_SECONDS),
    )
