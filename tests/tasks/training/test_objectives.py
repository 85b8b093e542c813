"""The weighted sum of soft and hard losses, against torch's own in float64."""

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from tasks.training.losses import IGNORE_INDEX
from tasks.training.objectives import Objective

torch.manual_seed(4)
STUDENT, TEACHER = torch.randn(6, 3), 3 * torch.randn(6, 3)
LABELS = torch.tensor([0, 2, IGNORE_INDEX, 1, 1, IGNORE_INDEX])


def terms(objective, rows=slice(None), teacher=TEACHER, labels=LABELS):
    student = STUDENT[rows].clone().requires_grad_()
    found = objective(
        student,
        labels[rows],
        None if teacher is None else teacher[rows],
        num_examples=6,
        num_labelled=int((labels != IGNORE_INDEX).sum()),
    )
    return student, found


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_is_the_weighted_sum_the_recipe_states(alpha):
    """A forgotten T² or a swapped weight trains something, and nobody sees what."""
    _, found = terms(Objective(alpha=alpha, temperature=2.0))
    student, teacher = STUDENT.double(), TEACHER.double()
    soft = 4 * kl_div(log_softmax(student / 2, -1), softmax(teacher / 2, -1), reduction="batchmean")
    hard = cross_entropy(student, LABELS, ignore_index=IGNORE_INDEX)
    expected = alpha * soft + (1 - alpha) * hard
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_micro_batches_add_up_to_the_whole_step():
    """Means of means weigh a half-empty micro-batch like a full one."""
    objective = Objective(alpha=0.5, temperature=2.0)
    whole, found = terms(objective)
    found["loss"].backward()
    total, gradients = 0.0, []
    for rows in (slice(0, 2), slice(2, 6)):
        part, found_part = terms(objective, rows)
        found_part["loss"].backward()
        total += found_part["loss"].item()
        gradients.append(part.grad)
    assert total == pytest.approx(found["loss"].item(), rel=1e-5)
    torch.testing.assert_close(torch.cat(gradients), whole.grad)


def test_a_step_without_a_label_has_a_gradient_of_zero():
    """`nan` from a division by no labels ends the training of a whole night."""
    none = torch.full((6,), IGNORE_INDEX)
    student, found = terms(Objective(alpha=0.0), teacher=None, labels=none)
    found["loss"].backward()
    assert found["loss"].item() == 0.0
    assert torch.equal(student.grad, torch.zeros_like(STUDENT))
