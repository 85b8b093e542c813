"""DIST, against scipy's Pearson and torchdistill."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from tasks.training.losses.correlations import dist_loss


def softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum(-1, keepdims=True)


@pytest.fixture
def logits(promises):
    return promises.draw(7, 4, seed=21), promises.draw(7, 4, seed=22)


def test_it_is_one_minus_pearson_over_texts_and_over_classes(logits):
    mask = torch.tensor([True, True, False, True, True, False, True])
    student, teacher = (softmax(one[mask].double().numpy() / 2) for one in logits)
    between = sum(1 - pearsonr(a, b)[0] for a, b in zip(student, teacher, strict=True))
    within = np.mean([1 - pearsonr(a, b)[0] for a, b in zip(student.T, teacher.T, strict=True)])
    expected = 4 * (0.7 * between + 0.3 * within * 5) / 9
    found = dist_loss(*logits, mask, temperature=2.0, normalizer=9, beta=0.7, gamma=0.3)
    assert found.item() == pytest.approx(expected, rel=1e-5)


# (beta, gamma) -> value of `pinned` by DISTLoss of torchdistill 1.1.5, T = 1 and 2; it has T² too.
DISTILLED = {
    (1.0, 0.0): (1.2397995125760923, 4.816529320901687),
    (0.0, 1.0): (1.4065104814356575, 5.736814585837424),
}


@pytest.mark.parametrize(("beta", "gamma"), DISTILLED)
def test_it_is_torchdistill_s(pinned, beta, gamma):
    """The paper has no T² and its authors' code has: one rule, and it is written down."""
    for temperature, expected in zip((1.0, 2.0), DISTILLED[beta, gamma], strict=True):
        found = dist_loss(*pinned, temperature=temperature, normalizer=3, beta=beta, gamma=gamma)
        assert found.item() == pytest.approx(expected, rel=1e-6)


LOSS = partial(dist_loss, temperature=2.0)


def test_gradients_are_those_of_finite_differences(promises, logits):
    promises.has_the_gradient_of_finite_differences(LOSS, *logits)


def test_padding_changes_neither_loss_nor_gradient(promises, logits):
    """Padded rows in the mean of a class move every correlation of that class."""
    promises.ignores_what_is_masked(LOSS, *logits)


def test_what_belongs_to_single_texts_adds_up_over_passes(promises, logits):
    promises.adds_up_over_passes(partial(LOSS, gamma=0.0), *logits)


def test_passes_count_by_their_texts(logits):
    """A pass of one text that counted as one of thirty would drown the step in noise."""
    student, teacher = (one[:3] for one in logits)
    whole = LOSS(student, teacher, normalizer=3)
    twice = LOSS(student, teacher, normalizer=6) + LOSS(student, teacher, normalizer=6)
    assert twice.item() == pytest.approx(whole.item(), rel=1e-6)


def test_constants_are_not_correlated_with_anything(promises, extremes):
    """0/0: a class that no text of the pass has, a text whose classes are alike, a single text."""
    # A constant row's slope is 1 / its spread, which is beyond what 16 bits of fp16 can hold.
    promises.stays_finite(LOSS, *extremes, dtypes=(torch.float32, torch.bfloat16))
    promises.stays_finite(LOSS, *(one[[0, 2]] for one in extremes), dtypes=(torch.float16,))
    promises.stays_finite(LOSS, torch.zeros(2, 4), torch.zeros(2, 4))
    one = torch.tensor([[1.0, 2.0, 0.0]])
    assert LOSS(one, one.clone(), normalizer=1).item() == pytest.approx(0.0, abs=1e-5)
    empty = LOSS(one, one.clone(), torch.tensor([False]), normalizer=1)
    assert empty.item() == 0.0


def test_no_gradient_flows_into_the_teacher(promises, logits):
    promises.leaves_the_teacher_alone(LOSS, *logits)
    promises.computes_sixteen_bits_in_float32(LOSS, *logits)


def test_a_student_that_is_its_teacher_has_no_loss(logits):
    for dtype in (torch.float32, torch.bfloat16):
        teacher = logits[1].to(dtype)
        assert abs(LOSS(teacher.clone(), teacher, normalizer=7).item()) < 1e-5


def test_sequences_are_refused(logits):
    """Classes correlated over the tokens of one text, or over texts: the caller must say."""
    with pytest.raises(ValueError, match="flatten them"):
        LOSS(logits[0][None], logits[1][None], normalizer=1)
