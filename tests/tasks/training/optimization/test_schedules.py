"""Values over the steps, by hand."""

import pytest
from pydantic import ValidationError

from tasks.training.optimization.schedules import Schedule, value_at


def values(value, total_steps=5):
    return [value_at(value, step, total_steps=total_steps) for step in range(total_steps)]


def test_a_number_is_constant():
    assert values(0.3) == [0.3] * 5


def test_linear_and_cosine_reach_both_ends_exactly():
    """A weight that never quite reaches 0 keeps its term, and its cost, alive."""
    assert values(Schedule(kind="linear", start=1, end=0)) == [1, 0.75, 0.5, 0.25, 0]
    found = values(Schedule(kind="cosine", start=4, end=2))
    assert found == pytest.approx([4, 3 + 0.5**0.5, 3, 3 - 0.5**0.5, 2])
    assert found[-1] == 2


def test_it_stays_once_its_share_is_over():
    assert values(Schedule(start=0, end=2, over=0.5)) == [0, 1, 2, 2, 2]
    assert value_at(Schedule(start=0, end=2), 99, total_steps=5) == 2


@pytest.mark.parametrize("total_steps", [1, 2])
def test_the_shortest_trainings_have_values(total_steps):
    """A division by no steps."""
    assert values(Schedule(start=3, end=1), total_steps) == [3, 1][:total_steps]


def test_what_is_no_schedule_is_refused():
    for wrong in ({"over": 0}, {"over": 1.5}, {"start": float("inf")}, {"kind": "sudden"}):
        with pytest.raises(ValidationError):
            Schedule.model_validate({"start": 1, "end": 0, **wrong})
