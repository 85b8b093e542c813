"""A tuning study: trials of one recipe, of which only the student is trained.

    prepare ─► draw ─► train ─► tell ─► draw ... ─► figures, plot, best recipe
       │         ▲        │  validation figures
       │         └────────┴─ a trial behind the others is ended
       └ corpus, tokens, teacher, signals: from the store, for all trials

Everything lies in one folder, `<home>/tuning/<recipe>-<identity>`: Optuna's database, trials.csv,
pareto.png, best.yaml. The identity is made of what a trial's figure depends on, so that a changed
recipe, or other rows behind the same path, begin a study of their own; a larger `num_trials` goes
on with the same one.

A killed study goes on where it was: the trial in progress keeps the values it had drawn, and its
student the checkpoint. What trial n draws is a function of (seed, n, finished trials), so a resumed
study makes the same trials as an undisturbed one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from data_contracts.errors import DecantError, RecipeError, UserError
from flows.orchestration.partial import Node, Preparations, step_of
from flows.orchestration.processes import Job, run_side_by_side
from flows.orchestration.runner import (
    LISTENER,
    Call,
    Listener,
    Options,
    SilentListener,
    call_directly,
)
from flows.preflight.refusals import check_before_training
from flows.recipe.loading.files import check_recipe, encoder_recipe, put
from flows.recipe.recipe import Recipe
from flows.recipe.search_space import Tuning
from flows.runs.pointers import RunLog
from flows.studies.draws import drawn_value, open_study, quiet, record_of, sampler_of
from flows.studies.results import StudyResult, write_results
from flows.studies.trials import Costs, Outcome, Trial, is_of_values, measure_costs, run_trial
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.fingerprint import fingerprint
from tasks.runtime.locks import exclusive_lock
from tasks.runtime.seeding import derive_seed
from tasks.runtime.stages import key_parts

if TYPE_CHECKING:
    import optuna

GOAL = "student-seed-0"
_WAITING = "another process runs this study; waiting for it"
_SHARED = "teacher"  # steps whose names begin so, and what they need, are the same in all trials


def run_study(
    recipe: Recipe, *, store: ArtifactStore, options: Options, call: Call = call_directly
) -> StudyResult:
    """Run the trials of `recipe.tuning` that are still to run; all of them, and the best recipe.

    Raises: RecipeError if there is no section `tuning`, or it changes what trials share; UserError
        if no trial came to an end; whatever the shared steps raise.
    """
    tuning = check_study(recipe)
    goal = step_of(recipe, GOAL)
    log = RunLog(store.root, f"{recipe.name}-tuning")
    listener = LISTENER.get() or SilentListener()
    with log.run((*(node.name for node in goal.needs()), GOAL)) as running:
        run_id = options.run_id or running.name
        prepared = Preparations(
            store, log, listener, call, run_id=run_id, workers=options.workers, running=running
        )
        parts = key_parts(goal.stage, goal.config, prepared.inputs_of(goal))
        asked = tuning.model_dump(mode="json", exclude={"num_trials"})
        folder = store.root / "tuning" / f"{recipe.name}-{fingerprint([parts, asked])[:12]}"
        running.step = GOAL
        with exclusive_lock(folder / "lock", on_wait=lambda: listener.say(_WAITING)):
            study = _Study(recipe, tuning, folder, prepared, listener, options.workers)
            study.run(store, call, run_id)
            return study.finish(store, log, run_id)


def check_study(recipe: Recipe) -> Tuning:
    """The study of `recipe`, refused if it cannot be run: asked before a server is started for it.

    Raises: RecipeError if there is no section `tuning`, it changes what trials share, the student
        is compared with layers that its teacher does not have, or a language lacks test rows.
    """
    if recipe.tuning is None:
        raise RecipeError(
            f"recipe {recipe.name} has no section tuning",
            rule="a study needs parameters to change, such as {path: distillation.alpha, kind: "
            "float, low: 0, high: 1}",
            remedy="add one; flows/recipes/quickstart.yaml has an example",
        )
    check_before_training(recipe)
    check_space(recipe, recipe.tuning)
    return recipe.tuning


def check_space(recipe: Recipe, tuning: Tuning) -> None:
    """Refuse parameters that change a step which all trials are to share.

    Raises: RecipeError naming the parameter and the step, or why no value of it is valid.
    """
    shared = _shared(step_of(recipe, GOAL))
    for parameter in tuning.parameters:
        errors = []
        for value in parameter.examples:
            try:
                changed = _shared(step_of(with_values(recipe, {parameter.path: value}), GOAL))
            except RecipeError as error:
                errors.append(error)
                continue
            for name, config in shared.items():
                if changed.get(name) != config:
                    raise RecipeError(
                        f"tuning.parameters: {parameter.path} = {value} changes the step {name}",
                        rule="corpus, teacher and signals are the same in all trials of a study",
                        remedy="tune what the student alone depends on, or compare two recipes",
                    )
        if len(errors) == len(parameter.examples):
            raise errors[0]


def _shared(goal: Node) -> dict[str, str]:
    """What the steps that trials share are configured as, by name."""
    found: dict[str, str] = {}
    for node in goal.needs():
        if node.name.startswith(_SHARED):
            found |= {one.name: fingerprint(one.config) for one in (*node.needs(), node)}
    return found


def with_values(recipe: Recipe, values: dict[str, JsonValue]) -> Recipe:
    """`recipe` without its study and with `values` at their paths: what the user wrote, and these.

    Raises: RecipeError if that is no valid recipe.
    """
    written = recipe.model_dump(mode="json", exclude_unset=True, exclude={"tuning"})
    for path, value in values.items():
        put(written, path, value, source=f"tuning.parameters {path}")
    return encoder_recipe(check_recipe(written, name=recipe.name))


class _Study:
    """The trials of one study, kept in its folder."""

    def __init__(
        self,
        recipe: Recipe,
        tuning: Tuning,
        folder: Path,
        prepared: Preparations,
        listener: Listener,
        workers: int,
    ) -> None:
        """Open the study in `folder`, or begin it."""
        self._recipe, self._tuning, self._folder = recipe, tuning, folder
        self._prepared, self._listener, self._workers = prepared, listener, workers
        self._metric = _metric(recipe, tuning)
        self._study = open_study(folder, tuning, lower_is_better=self._metric == "loss")

    def run(self, store: ArtifactStore, call: Call, run_id: str) -> None:
        """Run draws of trials until there are enough."""
        while drawn := self._draw():
            trials = [Trial(trial, self._recipe_of(trial), self._metric) for trial in drawn]
            jobs = [self._job(trial, store, call, run_id) for trial in trials]
            small = all(job.on_one_thread for job in jobs)
            waiting = [job.job for job in jobs]
            run_side_by_side(
                waiting, limit=self._workers if small else 1, on_failure=lambda name: None
            )
            ended = []
            for trial, job in zip(trials, waiting, strict=True):
                assert job.given is not None, f"{job.name} was not run"
                ended.append((trial, job.given, self._costs(trial, job.given)))
            # Told in order and together: what the next draw sees does not depend on who was faster,
            # and hardly a kill comes in between: measuring, which takes seconds, is over.
            for trial, outcome, costs in ended:
                self._tell(trial, outcome, costs)

    def finish(self, store: ArtifactStore, log: RunLog, run_id: str) -> StudyResult:
        """Write tables, plot and the best recipe.

        Raises: UserError if no trial came to an end.
        """
        records = [record_of(trial, self._tuning.parameters) for trial in self._study.get_trials()]
        result = StudyResult(
            self._folder, self._recipe.name, self._metric, self._metric == "loss", tuple(records)
        )
        if result.best is None:
            reasons = sorted({record.reason for record in records if record.reason})
            raise UserError(
                f"none of {len(records)} trials of recipe {self._recipe.name} came to an end: "
                + "; ".join(reasons),
                rule="a study needs one trial that does",
                remedy="narrow tuning.parameters to values that work",
            )
        best = with_values(self._recipe, dict(result.best.values))
        # Leaves the best student, not the last one, as the one in use.
        self._prepared.artifact(step_of(best, GOAL))
        write_results(result, best)
        return result

    def _draw(self) -> list[optuna.trial.Trial]:
        """The trials that a killed study left, its draw completed; or the next ones, if any."""
        import optuna

        trials = self._study.get_trials(deepcopy=False)
        running = [t for t in trials if t.state == optuna.trial.TrialState.RUNNING]
        drawn = [optuna.trial.Trial(self._study, trial._trial_id) for trial in running]
        for trial in drawn:
            self._values(trial)
        first = running[0].user_attrs.get("draw", running[0].number) if running else len(trials)
        # A draw is told once it is complete: one of which a trial was told lacks none.
        told = any(trial.state.is_finished() for trial in trials[first:])
        end = 0 if told else min(first + self._tuning.trials_at_once, self._tuning.num_trials)
        return [*drawn, *(self._ask(first) for _ in range(len(trials), end))]

    def _ask(self, first: int) -> optuna.trial.Trial:
        trial = self._study.ask()
        trial.set_user_attr("draw", first)  # the number of the first one of those drawn together
        self._values(trial)  # before the next one is asked: the sampler looks at it
        return trial

    def _values(self, trial: optuna.trial.Trial) -> dict[str, JsonValue]:
        """Values of the parameters in `trial`, drawn unless they were drawn before."""
        values: dict[str, JsonValue] = {}
        for parameter in self._tuning.parameters:
            # A stream of its own for each draw: the same whether the study was killed or not.
            seed = derive_seed(self._tuning.seed, "trial", trial.number, parameter.path)
            self._study.sampler = sampler_of(self._tuning, seed % 2**32)
            values[parameter.path] = drawn_value(trial, parameter)
        return values

    def _recipe_of(self, trial: optuna.trial.Trial) -> Recipe | RecipeError:
        try:
            return with_values(self._recipe, self._values(trial))
        except RecipeError as error:
            return error

    def _job(self, trial: Trial, store: ArtifactStore, call: Call, run_id: str) -> _TrialJob:
        name = f"trial-{trial.number}"
        if isinstance(trial.recipe, RecipeError):
            return _refused(name, trial.recipe)
        node = step_of(trial.recipe, GOAL)
        try:
            # What trials share is built by now: a refusal is of what this one reads in its own way.
            inputs = self._prepared.inputs_of(node)
        except DecantError as error:
            if not is_of_values(error):
                raise
            self._prepared.running.step = GOAL  # a later failure is not of the step that refused
            return _refused(name, error)

        def train(run: Any) -> Outcome:
            return run_trial(
                trial,
                node,
                inputs,
                store=store,
                call=call,
                listener=self._listener,
                run_id=run_id,
                run=run,
            )

        small = node.stage.on_one_thread is not None and node.stage.on_one_thread(node.config)
        return _TrialJob(Job(name, train), on_one_thread=small)

    def _costs(self, trial: Trial, outcome: Outcome) -> Costs:
        if outcome.student is None or not isinstance(trial.recipe, Recipe):
            return Costs()
        inputs = self._prepared.inputs_of(step_of(trial.recipe, GOAL))
        return measure_costs(trial.recipe, outcome.student, inputs["tokens"])

    def _tell(self, trial: Trial, outcome: Outcome, costs: Costs) -> None:
        """Keep the outcome of `trial` in the database, and say it in a line."""
        import optuna

        for name, value in {**costs.as_dict(), "reason": outcome.reason}.items():
            if value is not None and value != "":
                trial.of_study.set_user_attr(name, value)
        state = {
            "complete": optuna.trial.TrialState.COMPLETE,
            "pruned": optuna.trial.TrialState.PRUNED,
            "failed": optuna.trial.TrialState.FAIL,
        }[outcome.state]
        value = outcome.value if outcome.state == "complete" else None
        with quiet():
            self._study.tell(trial.of_study, value, state=state)
        frozen = self._study.get_trials()[trial.number]
        record = record_of(frozen, self._tuning.parameters)
        self._listener.say(record.line(self._metric, of=self._tuning.num_trials))


class _TrialJob:
    """The job of a trial, and whether it computes on one thread."""

    def __init__(self, job: Job[Outcome], *, on_one_thread: bool) -> None:
        self.job, self.on_one_thread = job, on_one_thread


def _refused(name: str, error: DecantError) -> _TrialJob:
    """A trial whose values are none that a student can have."""
    outcome = Outcome(reason=error.fact)
    return _TrialJob(Job(name, lambda run: outcome), on_one_thread=True)


def _metric(recipe: Recipe, tuning: Tuning) -> str:
    """The validation figure by which trials are compared.

    Raises: RecipeError if the problem does not measure it.
    """
    from tasks.problems import PROBLEMS

    known = PROBLEMS[recipe.problem].metrics
    if tuning.metric == "auto":
        return known[0]
    if tuning.metric not in (*known, "loss"):
        raise RecipeError(
            f"tuning.metric is {tuning.metric!r}, which {recipe.problem} does not measure on "
            "validation rows",
            rule=f"one of: auto, loss, {', '.join(known)}",
            remedy="choose one of these",
        )
    return tuning.metric


__all__ = ["GOAL", "check_space", "check_study", "run_study", "with_values"]
