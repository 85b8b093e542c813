"""One trial: what ends it, and what ends the study with it."""

import json

import optuna
import pytest

from data_contracts.artifacts import StageSummary
from data_contracts.errors import (
    ContractViolation,
    MachineExhausted,
    RecipeError,
    ResourceExhausted,
    TrainingDiverged,
)
from flows.orchestration.partial import Node
from flows.orchestration.runner import SilentListener, call_directly
from flows.recipe.loading.files import read_recipe
from flows.studies.trials import Trial, is_of_values, run_trial
from tasks.runtime.stages import Stage, StageConfig, run_stage


@pytest.mark.parametrize(
    ("error", "of_values"),
    [
        (RecipeError("a width that its heads do not divide"), True),
        (TrainingDiverged("nan"), True),
        (ResourceExhausted("a batch that does not fit the device"), True),
        (MachineExhausted("a full disk"), False),
        (ContractViolation("no labelled rows"), False),
    ],
)
def test_a_trial_fails_alone_only_where_its_values_are_to_blame(error, of_values):
    """A full disk, told of each of a hundred trials as if its values had been bad."""
    assert is_of_values(error) == of_values


class _Config(StageConfig):
    figure: float


def _train(config, inputs, workspace):
    history = {"best_step": 1, "validations": [{"step": 1, "accuracy": config.figure}]}
    (workspace.output / "history.json").write_text(json.dumps(history))
    return StageSummary()


@pytest.mark.parametrize(("figure", "state"), [(0.75, "complete"), (0.25, "pruned")])
def test_a_student_of_the_store_is_judged_by_the_same_rule(store, figure, state):
    """A study run again, in which no student that another run has left is ever behind."""
    stage, config = Stage("student", 1, _train), _Config(figure=figure)
    run_stage(stage, config, {}, store=store)
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(lower=0.5))
    found = run_trial(
        Trial(study.ask(), read_recipe("quickstart"), "accuracy"),
        Node("student-seed-0", stage, config, {}),
        {},
        store=store,
        call=call_directly,
        listener=SilentListener(),
        run_id="run",
        run=run_stage,
    )
    assert found.state == state
    assert found.value == (figure if state == "complete" else None)
    assert ("is behind" in found.reason) == (state == "pruned")
