"""What the history tells of loss terms: means over the steps that had them, resumed or not."""

import json

import pytest
import torch

from data_contracts.errors import TrainingDiverged
from tasks.training.distributed.steps import current_ranks
from tasks.training.engine.meter import Meter

STEPS = (
    {"loss": 3.0, "loss_kd": 1.0, "loss_hard": 5.0},
    {"loss": 2.0, "loss_kd": 2.0},
    {"loss": 1.0, "loss_kd": 0.5},
    {"loss": 6.0, "loss_kd": 4.5, "loss_hard": 7.5},
)
MEANS = {"loss": 12 / 4, "loss_kd": 8 / 4, "loss_hard": 12.5 / 2}


def fed(meter, steps):
    for terms in steps:
        meter.add({name: torch.tensor(value) for name, value in terms.items()})
    return meter


def test_a_term_is_told_over_the_steps_that_computed_it():
    """On-policy steps counted as ones of cross-entropy 0: half of it told, as if learnt."""
    meter = fed(Meter({}, current_ranks()), STEPS)
    assert meter.read(4) == MEANS
    assert fed(meter, STEPS[1:3]).read(6) == {"loss": 1.5, "loss_kd": 1.25}


@pytest.mark.parametrize("cut", range(5))
def test_a_resumed_run_tells_the_same_means(cut):
    """A history that shows where a run was killed."""
    first = fed(Meter({}, current_ranks()), STEPS[:cut])
    state = json.loads(json.dumps(first.unread()))
    resumed = fed(Meter(state, current_ranks()), STEPS[cut:])
    assert resumed.read(4) == MEANS
    assert resumed.unread() == {"count": 0}


def test_what_a_checkpoint_held_before_terms_were_counted_one_by_one_is_read():
    """A run killed before an update that could not go on after it."""
    meter = Meter({"loss": 3.0, "loss_kd": 1.0, "loss_hard": 5.0, "count": 1}, current_ranks())
    assert fed(meter, STEPS[1:]).read(4) == MEANS


def test_steps_are_told_once():
    """A bar that passes its end."""
    meter = fed(Meter({}, current_ranks()), STEPS)
    meter.read(4)
    assert (meter.take_steps(), meter.take_steps()) == (4, 0)


def test_a_loss_that_is_no_number_stops_the_training():
    """A worthless model, registered."""
    meter = fed(Meter({}, current_ranks()), [{"loss": float("nan")}])
    with pytest.raises(TrainingDiverged, match="nan at step 7"):
        meter.read(7)
