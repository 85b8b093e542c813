"""Hidden states against numpy in float64 and TextBrewer."""

from functools import partial

import numpy as np
import pytest
import torch

from tasks.training.losses.hidden import hidden_cosine_loss, hidden_mse_loss


def mse(student, teacher):
    return ((student - teacher) ** 2).sum() / len(student)


def cosine(student, teacher):
    return 1 - student @ teacher / (np.sqrt(student @ student) * np.sqrt(teacher @ teacher))


CASES = {"mse": (hidden_mse_loss, mse), "cosine": (hidden_cosine_loss, cosine)}


@pytest.fixture
def states(promises):
    return promises.draw(6, 7, seed=61), promises.draw(6, 7, seed=62)


@pytest.mark.parametrize("name", CASES)
def test_states_are_compared_as_every_loss_promises(promises, states, name):
    """Value, gradient, padding, passes, axes, a fixed teacher."""
    loss, reference = CASES[name]
    promises.equals(loss, reference, *states)
    promises.has_the_gradient_of_finite_differences(loss, *states)
    promises.ignores_what_is_masked(loss, *states)
    promises.adds_up_over_passes(loss, *states)
    promises.does_not_mind_axes(loss, *states)
    promises.leaves_the_teacher_alone(loss, *states)
    promises.computes_sixteen_bits_in_float32(loss, *states)
    promises.stays_finite(loss, 1e4 * states[0], -1e4 * states[1])
    promises.stays_finite(loss, torch.zeros(2, 3), torch.zeros(2, 3))
    assert loss(states[1].clone(), states[1], normalizer=6).item() == pytest.approx(0, abs=1e-6)


def test_they_are_text_brewer_s(pinned):
    """TextBrewer 0.2.1.post1: hid_mse_loss, cos_loss with a mask, pkd_loss (twice the cosine)."""
    student, teacher = (one[None] for one in pinned)
    mask = torch.tensor([[True, True, False]])
    assert hidden_mse_loss(student, teacher, mask, normalizer=2).item() == pytest.approx(3.79)
    found = hidden_cosine_loss(student, teacher, mask, normalizer=2).item()
    assert found == pytest.approx(1.0445548139813585, rel=1e-9)
    found = hidden_cosine_loss(*pinned, normalizer=3).item()
    assert 2 * found == pytest.approx(2.342523059564122, rel=1e-9)


@pytest.mark.parametrize("loss", [hidden_mse_loss, hidden_cosine_loss])
def test_widths_that_differ_are_refused(states, loss):
    """A width of 1 would be broadcast, and seven dimensions learn one number."""
    with pytest.raises(ValueError, match="bridge widths by a projection"):
        partial(loss, normalizer=6)(states[0][:, :1], states[1])
