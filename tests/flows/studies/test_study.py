"""Tuning studies on the tiny problem: only students are trained, and a kill changes nothing."""

import csv
import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing

import pytest

import flows.studies.study
from data_contracts.errors import MachineExhausted, RecipeError
from flows.orchestration.runner import Options, call_directly
from flows.recipe.loading.files import check_recipe, read_recipe
from flows.runs.pointers import RunLog
from flows.studies.costs import Costs
from flows.studies.study import GOAL, check_space, run_study, with_values
from tasks.runtime.artifacts import ArtifactStore
from tests.flows.conftest import CommandLine
from tests.tasks.runtime.files.test_disk_errors import full_device

PARAMETERS = (
    {"path": "distillation.alpha", "kind": "float", "low": 0.0, "high": 1.0},
    {
        "path": "student.training.learning_rate", "kind": "float",
        "low": 1e-4, "high": 1e-2, "log": True,
    },
    {"path": "student.architecture.num_layers", "kind": "int", "low": 1, "high": 2},
    {"path": "student.architecture.pooling", "kind": "categorical", "choices": ["mean", "cls"]},
)  # fmt: skip


def recipe_of(tiny, *, distillation=None, **tuning):
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["distillation"] = distillation or {}
    values["teacher"]["training"] = {**values["teacher"]["training"], "num_epochs": 2}
    values["student"]["training"] = {**values["student"]["training"], "num_epochs": 2}
    values["tuning"] = {"num_trials": 4, "parameters": list(PARAMETERS), **tuning}
    return check_recipe(values, name="tiny")


class Counting:
    """Runs steps and counts those that were really built."""

    def __init__(self):
        self.built = Counter()

    def __call__(self, name, stage, config, inputs, **options):
        outcome = call_directly(name, stage, config, inputs, **options)
        if not outcome.cached:
            self.built[stage.name] += 1
        return outcome


@pytest.fixture(scope="module")
def studied(tiny, tmp_path_factory):
    """(store, counted stages, result) of a study of four trials, none ended early."""
    store, counting = ArtifactStore(tmp_path_factory.mktemp("studied")), Counting()
    recipe = recipe_of(tiny, pruner="none")
    return store, counting.built, run_study(recipe, store=store, options=Options(), call=counting)


def test_a_study_runs_the_teacher_once_and_students_alone_after_that(studied):
    """Hours of a large teacher's time for each setting of a small student."""
    store, built, result = studied
    assert built == {
        "corpus": 1, "tokens": 3, "teacher": 1, "teacher_signals": 1, "student": 4,
    }  # fmt: skip
    assert [trial.state for trial in result.trials] == ["complete"] * 4
    assert not {"export", "evaluation", "registration"} & {
        path.name for path in (store.root / "artifacts").iterdir()
    }


def test_more_trials_go_on_with_the_study(tiny, studied):
    """A study of twenty trials would begin anew because its user wants thirty."""
    store, _, before = studied
    counting = Counting()
    recipe = recipe_of(tiny, pruner="none", num_trials=5)
    after = run_study(recipe, store=store, options=Options(), call=counting)
    assert counting.built == {"student": 1}
    assert after.folder == before.folder
    assert after.trials[:4] == before.trials
    assert len({str(trial.values) for trial in after.trials}) == 5


def test_the_best_trial_is_a_recipe_with_a_figure_read_from_its_student(studied):
    """A winner that cannot be run, or that another figure made the winner."""
    _, _, result = studied
    best = max(result.trials, key=lambda trial: (trial.value, -trial.flops, -trial.number))
    assert result.best == best
    recipe = read_recipe(str(result.folder / "best.yaml"))
    assert recipe.tuning is None
    assert recipe.distillation.alpha == best.values["distillation.alpha"]
    assert recipe.student.training.learning_rate == best.values["student.training.learning_rate"]
    assert recipe.student.training.num_epochs == 2
    rows = list(csv.DictReader((result.folder / "trials.csv").open(encoding="utf-8")))
    assert int(rows[0]["trial"]) == best.number
    assert float(rows[0]["accuracy"]) == pytest.approx(best.value, abs=1e-4)
    assert all(float(row["p50_ms"]) > 0 and float(row["mflops"]) > 0 for row in rows)
    assert (result.folder / "pareto.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def prepared(studied, tmp_path):
    """A store with all that trials share, and no student."""
    artifacts = studied[0].root / "artifacts"
    for stage in artifacts.iterdir():
        if stage.name not in ("student", "examples"):
            shutil.copytree(stage, tmp_path / "prepared" / "artifacts" / stage.name)
    return ArtifactStore(tmp_path / "prepared")


def test_trials_drawn_together_and_side_by_side_have_the_figures_of_a_sequence(
    tiny, studied, prepared
):
    """Figures that depend on how many cores there were."""
    together = recipe_of(tiny, pruner="none", trials_at_once=2)
    found = run_study(together, store=prepared, options=Options(workers=2))
    # The first trials are drawn evenly, whatever others found: the same in both studies.
    expected = [(trial.values, trial.value) for trial in studied[2].trials]
    assert [(trial.values, trial.value) for trial in found.trials] == expected


def ctrl_c():
    raise KeyboardInterrupt


class StopsAt:
    """Runs steps, and calls `stop` at the second validation of a trial."""

    def __init__(self, trial, stop):
        self.trial, self.stop = trial, stop

    def __call__(self, name, stage, config, inputs, *, progress, **options):
        if name == self.trial:
            validated = progress.validated

            def interrupt(number, figures):
                validated(number, figures)
                if number == 2:
                    self.stop()

            progress.validated = interrupt
        return call_directly(name, stage, config, inputs, progress=progress, **options)


@pytest.mark.filterwarnings("ignore:The reported value is ignored:UserWarning")
@pytest.mark.parametrize(
    ("stop", "raised"), [(ctrl_c, KeyboardInterrupt), (full_device, MachineExhausted)]
)
def test_an_interrupted_study_makes_the_trials_of_an_undisturbed_one(
    tiny, studied, prepared, stop, raised
):
    """Values that were drawn and lost, or drawn twice, after a night's kill; or a full disk after
    which every trial has failed for ever."""
    recipe = recipe_of(tiny, pruner="none")
    for trial in ("trial-0", "trial-2"):
        with pytest.raises(raised):
            run_study(recipe, store=prepared, options=Options(), call=StopsAt(trial, stop))
    found = run_study(recipe, store=prepared, options=Options())
    expected = [(trial.number, trial.values, trial.value) for trial in studied[2].trials]
    assert [(trial.number, trial.values, trial.value) for trial in found.trials] == expected


@pytest.mark.filterwarnings("ignore:The reported value is ignored:UserWarning")
def test_a_draw_is_told_whole_or_not_at_all(tiny, studied, prepared, monkeypatch):
    """Trials drawn together see one another after a kill, and another one is ended early."""
    measured = []

    def measure(recipe, student, tokens):
        if measured:
            raise KeyboardInterrupt
        measured.append(student)
        return Costs()

    recipe = recipe_of(tiny, num_trials=2, trials_at_once=2)
    with monkeypatch.context() as patch:
        patch.setattr(flows.studies.study, "measure_costs", measure)
        with pytest.raises(KeyboardInterrupt):
            run_study(recipe, store=prepared, options=Options())
    (database,) = (prepared.root / "tuning").glob("tiny-*/study.db")
    with closing(sqlite3.connect(database)) as connection:
        states = connection.execute("SELECT state FROM trials").fetchall()
    assert states == [("RUNNING",)] * 2
    found = run_study(recipe, store=prepared, options=Options())
    expected = [(trial.values, trial.value) for trial in studied[2].trials[:2]]
    assert [(trial.values, trial.value) for trial in found.trials] == expected


def test_a_draw_that_a_kill_cut_short_is_completed_before_it_is_trained(
    tiny, prepared, monkeypatch
):
    """Killed between two values drawn together, the second is drawn with the first one's figure
    known: other trials than those of an undisturbed study."""
    recipe = recipe_of(tiny, num_trials=2, trials_at_once=2)
    ask = flows.studies.study._Study._ask

    def killed(study, *arguments):
        ask(study, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(flows.studies.study._Study, "_ask", killed)
        with pytest.raises(KeyboardInterrupt):
            run_study(recipe, store=prepared, options=Options())
    (database,) = (prepared.root / "tuning").glob("tiny-*/study.db")
    drawn = []

    def train(name, *arguments, **options):
        if name.startswith("trial-"):
            with closing(sqlite3.connect(database)) as connection:
                drawn.append(connection.execute("SELECT state FROM trials").fetchall())
        return call_directly(name, *arguments, **options)

    run_study(recipe, store=prepared, options=Options(), call=train)
    assert drawn == [[("RUNNING",)] * 2] * 2


def test_a_study_that_fails_before_its_trials_says_at_which_step(tiny, tmp_path):
    """`failed in None`, after an hour of a teacher's training."""

    def fails_at(name, stage, *arguments, **options):
        if name == "teacher":
            raise RecipeError("no such teacher")
        return call_directly(name, stage, *arguments, **options)

    store = ArtifactStore(tmp_path / "store")
    with pytest.raises(RecipeError):
        run_study(recipe_of(tiny), store=store, options=Options(), call=fails_at)
    assert RunLog(store.root, "tiny-tuning").last_run().failed_step == "teacher"


def test_a_trial_behind_the_others_is_ended_and_leaves_nothing(tiny, prepared):
    """Half a student in the store, found there as a whole one by the next run."""
    rates = {
        "path": "student.training.learning_rate", "kind": "categorical", "choices": [1e-2, 1e-9],
    }  # fmt: skip
    recipe = recipe_of(
        tiny, parameters=[rates], num_trials=6, num_startup_trials=1, metric="loss",
        warmup_validations=0, seed=1,
        # The tests' teacher has learned little: only gold labels surely lower the loss.
        distillation={"alpha": 0.0, "hard_labels": "gold"},
    )  # fmt: skip
    result = run_study(recipe, store=prepared, options=Options())
    by_rate = {}
    for trial in result.trials:
        by_rate.setdefault(trial.values["student.training.learning_rate"], []).append(trial.state)
    assert set(by_rate[1e-2]) == {"complete"}
    assert "pruned" in by_rate[1e-9]
    pruned = next(trial for trial in result.trials if trial.state == "pruned")
    assert "behind the median" in pruned.reason
    students = [path for path in (prepared.root / "artifacts" / "student").iterdir()]
    assert len(students) == len({str(t.values) for t in result.trials if t.state == "complete"})
    assert not list((prepared.root / "work").glob("student/*"))
    assert not list((prepared.root / "tmp").glob("student*"))
    assert result.best.values == {"student.training.learning_rate": 1e-2}


def test_values_that_no_student_can_have_cost_one_trial_and_not_the_study(tiny, prepared):
    """A width that its heads do not divide ends a night of trials."""
    heads = {
        "path": "student.architecture.num_heads", "kind": "categorical", "choices": [2, 5],
    }  # fmt: skip
    recipe = recipe_of(tiny, parameters=[heads], num_trials=3, sampler="random", seed=3)
    result = run_study(recipe, store=prepared, options=Options())
    assert {trial.state for trial in result.trials} == {"complete", "failed"}
    failed = next(trial for trial in result.trials if trial.state == "failed")
    assert "not a multiple of num_heads 5" in failed.reason


def test_values_that_a_step_of_its_own_refuses_cost_one_trial_and_not_the_study(tiny, prepared):
    """A length at which too many texts are cut: drawn first and refused again by each rerun, for
    ever; or a trial that is interrupted later, told as a failure of the step that refused."""
    length = {"path": "student.max_length_tokens", "kind": "int", "low": 4, "high": 24}
    recipe = recipe_of(tiny, parameters=[length], num_trials=3, sampler="random", seed=3)
    refused = []

    def ctrl_c_after_a_refusal(name, *arguments, **options):
        if name.startswith("trial-") and refused:
            raise KeyboardInterrupt
        try:
            return call_directly(name, *arguments, **options)
        except RecipeError:
            refused.append(name)
            raise

    with pytest.raises(KeyboardInterrupt):
        run_study(recipe, store=prepared, options=Options(), call=ctrl_c_after_a_refusal)
    assert set(refused) == {"student-tokens"}
    assert RunLog(prepared.root, "tiny-tuning").last_run().failed_step == GOAL
    result = run_study(recipe, store=prepared, options=Options())
    assert {trial.state for trial in result.trials} == {"complete", "failed"}
    for trial in result.trials:
        cut = "are longer than max_length_tokens" in trial.reason
        assert cut == (trial.state == "failed")


def test_what_trials_share_cannot_be_tuned(tiny):
    """A study in which each trial fine-tunes a teacher of its own, unasked."""
    shared = {"path": "distillation.train_on", "kind": "categorical",
              "choices": [["transfer"], ["transfer", "train"]]}  # fmt: skip
    recipe = recipe_of(tiny, parameters=[shared])
    with pytest.raises(RecipeError, match="changes the step signal-tokens"):
        check_space(recipe, recipe.tuning)
    unknown = {"path": "student.training.learning_rat", "kind": "float", "low": 0.1, "high": 0.2}
    recipe = recipe_of(tiny, parameters=[unknown])
    with pytest.raises(RecipeError, match="learning_rat is not a field"):
        check_space(recipe, recipe.tuning)


def test_trials_are_not_judged_by_test_rows(tiny, prepared):
    """The best of twenty on the test set, reported as if it were the test figure of one."""
    recipe = recipe_of(tiny, metric="test_accuracy")
    with pytest.raises(RecipeError, match="does not measure on validation rows"):
        run_study(recipe, store=prepared, options=Options())


def test_a_trial_s_recipe_is_what_the_user_wrote_with_its_values(tiny):
    """A default frozen into the recipe that is handed on, or a field of the user's lost."""
    recipe = recipe_of(tiny)
    changed = with_values(recipe, {"distillation.alpha": 0.25})
    assert changed.distillation.alpha == 0.25
    same = {"exclude": {"tuning", "distillation"}}
    assert changed.model_dump(**same) == recipe.model_dump(**same)


@pytest.mark.slow
def test_the_command_tunes_what_a_run_has_prepared_and_its_best_recipe_runs(
    tiny, in_a_copy, tmp_path
):
    """A command whose winner cannot be planned, or that fine-tunes the teacher once more."""
    recipe = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["tuning"] = {"num_trials": 2, "parameters": [PARAMETERS[0]]}
    (tmp_path / "tune.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    fresh = CommandLine(in_a_copy.folder)  # an interpreter that has imported nothing yet
    done = fresh("tune", tmp_path / "tune.yaml", "--no-orchestrator", check=0)
    assert "built in" not in done.stderr
    assert "trial 1 of 2" in done.stderr
    (best,) = (in_a_copy.home / "tuning").glob("tiny-*/best.yaml")
    assert str(best) in done.stdout.replace("\n", "")
    plan = in_a_copy("plan", best, check=0).stdout
    assert "cached  student-seed-0" in plan
    assert "completed" in in_a_copy("status", check=0).stdout
