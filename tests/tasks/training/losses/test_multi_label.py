"""Yes or no for each class, against numpy in float64."""

from functools import partial

import numpy as np
import pytest
import torch

from tasks.training.losses.divergences import soft_target_loss
from tasks.training.losses.hard import IGNORE_INDEX
from tasks.training.losses.multi_label import binary_hard_label_loss, binary_soft_target_loss

LOSS = partial(binary_soft_target_loss, temperature=2.0)


def reference(student, teacher):
    p, q = (1 / (1 + np.exp(-z / 2)) for z in (teacher, student))
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return 4 * divergence.sum() / len(p)


@pytest.fixture
def logits(promises):
    return promises.draw(6, 5, seed=31), promises.draw(6, 5, seed=32)


def test_each_class_is_a_decision_of_its_own(promises, logits):
    """A softmax makes labels compete that hold together, and the student learns one of them."""
    promises.equals(LOSS, reference, *logits)
    both = torch.tensor([[5.0, 5.0]])
    one = torch.tensor([[0.0, 0.0]])
    assert LOSS(one, both, normalizer=1).item() > 0.5
    assert soft_target_loss(one, both, temperature=2.0, normalizer=1).item() == 0


def test_two_classes_are_a_sigmoid_of_their_difference(promises):
    """The same yes or no as two logits of a softmax: another function must agree."""
    student, teacher = promises.draw(4, 1, seed=33), promises.draw(4, 1, seed=34)
    wide = [torch.cat([one, torch.zeros_like(one)], 1) for one in (student, teacher)]
    expected = soft_target_loss(*wide, temperature=2.0, normalizer=4)
    assert LOSS(student, teacher, normalizer=4).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_soft_loss_keeps_what_losses_promise(promises, logits, extremes):
    """Masking, passes, axes, precision: as every loss over positions."""
    promises.has_the_gradient_of_finite_differences(LOSS, *logits)
    promises.ignores_what_is_masked(LOSS, *logits)
    promises.adds_up_over_passes(LOSS, *logits)
    promises.does_not_mind_axes(LOSS, *logits)
    promises.stays_finite(LOSS, *extremes)
    promises.leaves_the_teacher_alone(LOSS, *logits)
    promises.computes_sixteen_bits_in_float32(LOSS, *logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_student_that_is_its_teacher_has_no_loss(promises, dtype):
    """TextBrewer's form keeps the teacher's entropy: a perfect student looks bad."""
    teacher = promises.draw(3, 5_000, seed=35, dtype=dtype)
    assert -1e-6 <= LOSS(teacher.clone(), teacher, normalizer=3).item() <= 1e-6


def test_hard_labels_are_the_cross_entropy_of_each_class(promises):
    """Rows without labels read as "no" to everything."""
    logits = promises.draw(3, 4, seed=36)
    labels = torch.tensor([[1, 0, 0, 1], [IGNORE_INDEX] * 4, [0, 0, 0, 0]])
    z, y = logits.double().numpy(), labels.numpy()
    chosen = np.where(y == 1, np.log1p(np.exp(-z)), np.log1p(np.exp(z)))[[0, 2]]
    found = binary_hard_label_loss(logits, labels, normalizer=2)
    assert found.item() == pytest.approx(chosen.sum() / 4 / 2, rel=1e-5)


def test_a_weight_is_that_of_a_yes(promises):
    """Weighing both answers alike: a rare class counts more, and says no as readily as before."""
    logits = promises.draw(2, 4, seed=36)
    labels = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0]])
    weights = torch.tensor([2.0, 5.0, 0.0, 1.0])
    z, y, w = logits.double().numpy(), labels.numpy(), weights.numpy()
    expected = w * y * np.log1p(np.exp(-z)) + (1 - y) * np.log1p(np.exp(z))
    found = binary_hard_label_loss(logits, labels, normalizer=2, class_weights_C=weights)
    assert found.item() == pytest.approx(expected.sum() / 8, rel=1e-5)


def test_smoothed_labels_are_between_no_and_yes(promises):
    logits = promises.draw(2, 3, seed=37)
    labels = torch.tensor([[1, 0, 1], [0, 0, 1]])
    ends = [
        binary_hard_label_loss(logits, one, normalizer=2).item() for one in (labels, 1 - labels)
    ]
    found = binary_hard_label_loss(logits, labels, normalizer=2, label_smoothing=0.2)
    assert found.item() == pytest.approx(0.9 * ends[0] + 0.1 * ends[1], rel=1e-5)


def test_what_cannot_be_compared_is_refused(logits):
    with pytest.raises(ValueError, match="labels"):
        binary_hard_label_loss(logits[0], torch.zeros(6, dtype=torch.int64), normalizer=1)
    with pytest.raises(ValueError, match="temperature"):
        binary_soft_target_loss(*logits, temperature=0, normalizer=1)
