"""Values that a study draws: those the recipe names, and the same ones when it is opened again."""

import pytest

from flows.recipe.search_space import Tuning
from flows.studies.draws import drawn_value, open_study, quiet, record_of, sampler_of

CHOICES = [{"init": "random", "num_layers": 1}, {"init": "random", "num_layers": 2}]
SPACE = [
    {"path": "student.architecture", "kind": "categorical", "choices": CHOICES},
    {"path": "distillation.alpha", "kind": "float", "low": 0.25, "high": 0.5},
    {"path": "student.training.batch_size", "kind": "int", "low": 8, "high": 32, "step": 8},
]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_trial_read_back_has_the_values_that_were_drawn(tmp_path, sampler):
    """A section told as its text in the table of trials, or another one trained after a kill."""
    tuning = Tuning(parameters=SPACE, sampler=sampler)
    study = open_study(tmp_path, tuning, lower_is_better=False)
    study.sampler = sampler_of(tuning, 7)
    trial = study.ask()
    drawn = {one.path: drawn_value(trial, one) for one in tuning.parameters}
    assert drawn["student.architecture"] in CHOICES
    assert 0.25 <= drawn["distillation.alpha"] <= 0.5
    assert drawn["student.training.batch_size"] in (8, 16, 24, 32)
    assert {one.path: drawn_value(trial, one) for one in tuning.parameters} == drawn
    trial.set_user_attr("reason", "late")
    again = open_study(tmp_path, tuning, lower_is_better=False)
    in_progress = record_of(again.get_trials()[0], tuning.parameters)
    assert (in_progress.state, in_progress.value, in_progress.values) == ("failed", None, drawn)
    with quiet():
        again.tell(0, 0.75)
    ended = record_of(study.get_trials()[0], tuning.parameters)
    assert (ended.state, ended.value, ended.reason) == ("complete", 0.75, "late")
