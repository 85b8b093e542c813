"""What a study may change: students alone, over values that can be drawn."""

import pytest
from pydantic import ValidationError

from flows.recipe.search_space import Tuning

RATE = {"path": "student.training.learning_rate", "kind": "float", "low": 1e-4, "high": 1e-2}
LAYERS = {"path": "student.architecture.num_layers", "kind": "int", "low": 1, "high": 4}
POOLING = {
    "path": "student.architecture.pooling", "kind": "categorical", "choices": ["mean", "cls"],
}  # fmt: skip


@pytest.mark.parametrize("path", ["teacher.training.learning_rate", "data.max_rows", "seed"])
def test_what_all_trials_share_is_no_parameter(path):
    """A study in which each trial fine-tunes a teacher of its own, unasked."""
    told = "should match" if path == "seed" else f"{path} is below neither student nor distillation"
    with pytest.raises(ValidationError, match=told):
        Tuning(parameters=[{**LAYERS, "path": path}])


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ([{**RATE, "high": 1e-4}], "low 0.0001 is not below high 0.0001"),
        ([{**RATE, "low": 0.0, "log": True}], r"the logarithm of 0\.0 is not drawn"),
        ([{**LAYERS, "step": 2, "log": True}], "log and a step of 2 exclude each other"),
        ([{**POOLING, "choices": ["mean", "cls", "mean"]}], "a choice is given twice"),
        ([RATE, LAYERS, RATE], r"student\.training\.learning_rate is named twice"),
    ],
)
def test_values_that_cannot_be_drawn_are_refused(parameters, told):
    """Optuna's own traceback, after the teacher has been fine-tuned."""
    with pytest.raises(ValidationError, match=told):
        Tuning(parameters=parameters)


def test_a_parameter_s_examples_stand_for_all_of_its_values():
    """Checked before the study: limits that no student can have would cost each trial instead."""
    space = Tuning(parameters=[RATE, LAYERS, {**POOLING, "choices": ["mean", {"kind": "cls"}]}])
    found = [parameter.examples for parameter in space.parameters]
    assert found == [(1e-4, 1e-2), (1, 4), ("mean", {"kind": "cls"})]
