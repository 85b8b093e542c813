"""The moments of Decant's validations, on which every time to a score rests."""

import itertools

import numpy as np
import pytest

from infra.benchmarks.gpu_material import classifier, lognormal_texts
from infra.benchmarks.validation_clock import ValidationClock
from tasks.training.engine.loop import train
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A real training of two epochs that is listened to, with a clock that each validation moves by
    ten seconds; its history and the listener."""
    now = [100.0]
    clock = ValidationClock(lambda: now[0])
    scores = itertools.count()

    def validate(model):
        now[0] += 10
        return {"accuracy": next(scores) / 10}

    examples = lognormal_texts(40, mean=8, longest=16, vocabulary=50)
    model = classifier((1, 16, 2), vocabulary=50, dropout=0.0)
    config = TrainingConfig(
        num_epochs=2,
        batch_size=8,
        validations_per_epoch=2,
        learning_rate=1e-3,
        precision="fp32",
        selection="accuracy",
    )
    result = train(
        model,
        examples,
        Objective(blend(0.5, 2.0)),
        config,
        pad_token_id=0,
        validate=validate,
        seed=0,
        work=tmp_path_factory.mktemp("work"),
        progress=clock,
        num_threads=1,
    )
    return result.history()["validations"], clock


def test_each_validation_is_clocked_when_it_is_over(trained):
    """A time to a score that lies on a straight line between start and end, which nobody saw."""
    validations, clock = trained
    # Of 5 steps an epoch, the 3rd and the last.
    expected = [(10.0, 3, 0.0), (20.0, 5, 0.1), (30.0, 8, 0.2), (40.0, 10, 0.3)]
    np.testing.assert_allclose(clock.points(validations), expected)
    later = [(2.5 + seconds, step, score) for seconds, step, score in expected]
    np.testing.assert_allclose(clock.points(validations, later=2.5), later)
    assert clock.seconds() == 40.0


def test_a_validation_that_was_not_heard_of_is_refused(trained):
    """A resumed training whose later moments are given to its earlier scores."""
    validations, clock = trained
    with pytest.raises(SystemExit, match=r"\[3, 5, 8\].*\[3, 5, 8, 10\]"):
        clock.points(validations[:-1])
    with pytest.raises(SystemExit, match="heard of those after"):
        clock.points([*validations[:-1], {"step": 9, "accuracy": 0.3}])
