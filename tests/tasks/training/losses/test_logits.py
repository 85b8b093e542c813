"""Losses of logits, against numpy in float64, other packages, and the traps they fell into."""

from functools import partial

import numpy as np
import pytest
import torch

from tasks.training.losses.divergences import soft_target_loss
from tasks.training.losses.hard import IGNORE_INDEX
from tasks.training.losses.logits import decoupled_loss, logit_mse_loss, standardised_logit_loss


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def kl(p, q):
    return (p * np.log(p / q)).sum()


def mse(student, teacher, centered=False):
    if centered:
        student, teacher = student - student.mean(), teacher - teacher.mean()
    return ((student - teacher) ** 2).sum() / len(student)


def standardised(student, teacher):
    student, teacher = ((z - z.mean()) / (z.std(ddof=1) + 1e-7) for z in (student, teacher))
    return 4 * kl(softmax(teacher / 2), softmax(student / 2))


def decoupled(student, teacher, alpha, beta):
    """With the teacher's choice as the label; the target is left out by deleting it."""
    label = teacher.argmax()
    p, q = softmax(teacher / 2), softmax(student / 2)
    target = kl(np.array([p[label], 1 - p[label]]), np.array([q[label], 1 - q[label]]))
    among = kl(softmax(np.delete(teacher, label) / 2), softmax(np.delete(student, label) / 2))
    return 4 * (alpha * target + beta * among)


def decoupled_without_labels(student, teacher, mask=None, **options):
    labels = torch.full(student.shape[:-1], IGNORE_INDEX)
    return decoupled_loss(student, teacher, labels, mask, **options)


CASES = {
    "mse": (logit_mse_loss, mse),
    "mse_centered": (partial(logit_mse_loss, centered=True), partial(mse, centered=True)),
    "standardised": (partial(standardised_logit_loss, temperature=2.0), standardised),
    "decoupled": (
        partial(decoupled_without_labels, temperature=2.0, alpha=0.7, beta=3.0),
        partial(decoupled, alpha=0.7, beta=3.0),
    ),
}
each_loss = pytest.mark.parametrize("loss", [loss for loss, _ in CASES.values()], ids=CASES)


@pytest.fixture
def logits(promises):
    return promises.draw(6, 5, seed=11), promises.draw(6, 5, seed=12)


@pytest.mark.parametrize("name", CASES)
def test_a_loss_is_that_of_its_definition(promises, logits, name):
    promises.equals(*CASES[name], *logits)


@each_loss
def test_gradients_are_those_of_finite_differences(promises, logits, loss):
    promises.has_the_gradient_of_finite_differences(loss, *logits)


@each_loss
def test_padding_changes_neither_loss_nor_gradient(promises, logits, loss):
    """Padding that counts makes the loss a function of the other texts' lengths."""
    promises.ignores_what_is_masked(loss, *logits)


@each_loss
def test_passes_of_a_step_add_up(promises, logits, loss):
    promises.adds_up_over_passes(loss, *logits)


@each_loss
def test_sequences_and_flattened_tokens_give_one_value(promises, logits, loss):
    promises.does_not_mind_axes(loss, *logits)


@each_loss
def test_extreme_logits_keep_loss_and_gradient_finite(promises, extremes, loss):
    """`torch.log(probability)` of a student that is sure: -inf, then NaN for all weights."""
    # A constant row's slope is 1 / its spread, which is beyond what 16 bits of fp16 can hold.
    promises.stays_finite(loss, *extremes, dtypes=(torch.float32, torch.bfloat16))
    promises.stays_finite(loss, *(one[[0, 2]] for one in extremes), dtypes=(torch.float16,))


@each_loss
def test_constant_logits_keep_loss_and_gradient_finite(promises, loss):
    """A fresh head may answer 0 everywhere: its standard deviation divides."""
    promises.stays_finite(loss, torch.zeros(2, 4), torch.zeros(2, 4))


@each_loss
def test_no_gradient_flows_into_the_teacher(promises, logits, loss):
    promises.leaves_the_teacher_alone(loss, *logits)
    promises.computes_sixteen_bits_in_float32(loss, *logits)


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_student_that_is_its_teacher_has_no_loss(promises, loss, dtype):
    teacher = promises.draw(2, 20_000, seed=15, dtype=dtype)
    assert -1e-6 <= loss(teacher.clone(), teacher, None, normalizer=2).item() <= 1e-5


def test_the_parts_of_decoupled_kd_make_up_the_kl(logits):
    """With beta = 1 - p(target) it is KD: a part lost, or T² in one only, would not add up."""
    student, teacher = logits
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    both = 0.0
    for i in range(6):
        sure = (teacher[i] / 3).softmax(-1)[labels[i]].item()
        rows = student[i : i + 1], teacher[i : i + 1], labels[i : i + 1]
        both += decoupled_loss(*rows, temperature=3.0, normalizer=6, alpha=1.0, beta=1 - sure)
    expected = soft_target_loss(student, teacher, temperature=3.0, normalizer=6)
    assert both.item() == pytest.approx(expected.item(), rel=1e-5)


def test_decoupled_kd_uses_labels_where_there_are_any(logits):
    """Gold labels given and never looked at."""
    student, teacher = logits
    chosen = teacher.argmax(-1)
    mixed = chosen.clone()
    mixed[:3] = IGNORE_INDEX
    loss = partial(decoupled_loss, student, teacher, temperature=1.0, normalizer=6)
    assert loss(mixed).item() == pytest.approx(loss(chosen).item())
    assert loss((chosen + 1) % 5).item() != pytest.approx(loss(chosen).item(), rel=1e-2)


def test_standardised_logits_forget_scale_and_offset(logits):
    """A small student asked for the teacher's large logits spends itself on their size."""
    student, teacher = logits
    loss = partial(standardised_logit_loss, student, temperature=2.0, normalizer=6)
    assert loss(7 * teacher - 3).item() == pytest.approx(loss(teacher).item(), rel=1e-4)


def test_logit_mse_is_text_brewer_s_at_any_temperature_once_t_squared_is_back(pinned):
    """TextBrewer 0.2.1.post1 kd_mse_loss divides by T² and leaves it there."""
    found = logit_mse_loss(*pinned, normalizer=3).item()
    for temperature, brewed in ((1.0, 3.4475), (2.0, 0.861875)):
        assert found == pytest.approx(brewed * temperature**2, rel=1e-9)


def test_standardised_logits_are_torchdistill_s(pinned):
    """torchdistill 1.1.5 LogitStdKDLoss with targets, its soft part."""
    for temperature, expected in ((1.0, 0.7255266558711235), (2.0, 0.8418514767540421)):
        found = standardised_logit_loss(*pinned, temperature=temperature, normalizer=3)
        assert found.item() == pytest.approx(expected, rel=1e-9)


def test_what_cannot_be_compared_is_refused(logits):
    student, teacher = logits
    labels = torch.zeros(6, dtype=torch.int64)
    with pytest.raises(ValueError, match="differ in shape"):
        logit_mse_loss(student, teacher[:1], normalizer=1)
    with pytest.raises(ValueError, match="temperature"):
        decoupled_loss(student, teacher, labels, temperature=0.0, normalizer=1)
    with pytest.raises(ValueError, match="labels"):
        decoupled_loss(student, teacher, labels[:2], temperature=1.0, normalizer=1)
    with pytest.raises(ValueError, match="no other class"):
        decoupled_loss(student[:, :1], teacher[:, :1], labels, temperature=1.0, normalizer=1)
