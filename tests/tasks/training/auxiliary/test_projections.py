"""Bridges between widths: a known start, no offset, no random number."""

import torch

from tasks.training.auxiliary.projections import Projection
from tasks.training.losses.hidden import hidden_mse_loss


def test_it_starts_as_the_identity_cut_off_or_filled():
    """A drawn start undoes a student that was copied from the teacher."""
    states = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(Projection(3, 3)(states), states)
    assert torch.equal(Projection(3, 2)(states), states[:, :2])
    filled = torch.cat([states, torch.zeros(2, 1)], 1)
    assert torch.equal(Projection(3, 4)(states), filled)
    assert [name for name, _ in Projection(3, 4).named_parameters()] == ["weight"]


def test_it_draws_no_random_number():
    """A bridge more or less would change the dropout and the weights of everything after it."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    Projection(3, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_learns_a_rotation_that_the_student_need_not():
    torch.manual_seed(1)
    student, turn = torch.randn(64, 4), torch.linalg.qr(torch.randn(6, 4))[0]
    bridge = Projection(4, 6)
    optimizer = torch.optim.Adam(bridge.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss = hidden_mse_loss(bridge(student), student @ turn.T, normalizer=64)
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-4
