"""Several teachers: the mean of their probabilities, unless asked otherwise."""

import numpy as np
import pytest
import torch

from tasks.training.losses.divergences import soft_target_loss
from tasks.training.losses.teachers import averaged_teacher_logits


@pytest.fixture
def teachers(promises):
    return torch.stack([promises.draw(4, 3, seed=seed) for seed in (101, 102, 103)])


def softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_probabilities_are_averaged(teachers, temperature):
    """Averaged logits are a geometric mean, and the surest teacher is the only one heard."""
    shares = np.array([0.5, 0.3, 0.2])
    logits = averaged_teacher_logits(teachers, torch.tensor([5.0, 3, 2]), temperature=temperature)
    expected = sum(
        share * softmax(one.double().numpy() / temperature)
        for share, one in zip(shares, teachers, strict=True)
    )
    found = softmax(logits.double().numpy() / temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_sure_teacher_does_not_silence_the_others():
    """99.99 % against twice 60 % the other way: logits follow the one, probabilities tell."""
    sure, doubt = torch.tensor([[9.0, -1.0]]), torch.tensor([[0.0, 0.4]])
    teachers = torch.stack([sure, doubt, doubt])
    equal = torch.ones(3)
    by_logits = averaged_teacher_logits(teachers, equal, temperature=1.0, average="logits")
    np.testing.assert_allclose(by_logits, teachers.mean(0), rtol=1e-6)
    by_probabilities = averaged_teacher_logits(teachers, equal, temperature=1.0)
    assert by_logits.softmax(-1)[0, 0] > 0.95
    assert by_probabilities.softmax(-1)[0, 0] < 0.7


def test_weights_may_differ_by_text_and_be_zero(teachers):
    """A teacher that never saw a language says nothing about its texts; log 0 is no NaN."""
    weights = torch.tensor([[1.0, 0, 1, 0], [0.0, 1, 1, 0], [0.0, 0, 0, 2]])
    found = averaged_teacher_logits(teachers, weights, temperature=1.0).softmax(-1)
    probabilities = teachers.softmax(-1)
    torch.testing.assert_close(found[0], probabilities[0, 0])
    torch.testing.assert_close(found[1], probabilities[1, 1])
    torch.testing.assert_close(found[2], probabilities[:2, 2].mean(0))
    torch.testing.assert_close(found[3], probabilities[2, 3])


def test_one_teacher_thrice_is_that_teacher(promises, teachers):
    """A loss that depends on how many teachers there are cannot be compared."""
    student, copies = promises.draw(4, 3, seed=104), teachers[:1].expand(3, 4, 3)
    merged = averaged_teacher_logits(copies, torch.ones(3), temperature=2.0)
    losses = [soft_target_loss(student, one, temperature=2.0, normalizer=4).item()
              for one in (merged, copies[0])]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_extremes_stay_finite_and_misfits_are_refused(teachers):
    merged = averaged_teacher_logits(
        torch.tensor([[[1e4, -1e4]], [[-1e4, 1e4]]]), torch.ones(2), temperature=0.05
    )
    assert torch.isfinite(merged).all()
    assert averaged_teacher_logits(teachers.bfloat16(), torch.ones(3), temperature=1.0).dtype == torch.float32  # fmt: skip  # noqa: E501
    with pytest.raises(ValueError, match="one a teacher"):
        averaged_teacher_logits(teachers, torch.ones(4), temperature=1.0)
    with pytest.raises(ValueError, match="temperature"):
        averaged_teacher_logits(teachers, torch.ones(3), temperature=0.0)
