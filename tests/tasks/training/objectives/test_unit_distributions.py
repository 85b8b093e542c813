"""Softmax over the units of a text, against one text at a time without padding."""

import numpy as np
import pytest
import torch

from tasks.training.losses import IGNORE_INDEX, hard_label_loss, soft_target_loss
from tasks.training.objectives.unit_distributions import as_distributions

COUNTS = (5, 1, 3)
TEXTS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
LABELS = torch.tensor([0, 1, 0, 0, 2, 3, IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX])


def draw(seed, dtype=torch.float32):
    return (2 * torch.randn(9, 2, generator=torch.Generator().manual_seed(seed))).to(dtype)


def softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum()


def kl(student, teacher, texts=TEXTS, normalizer=3.0, temperature=2.0):
    labels = torch.full((len(student),), IGNORE_INDEX)
    student, _, teacher = as_distributions(student, labels, teacher, texts)
    return soft_target_loss(student, teacher, temperature=temperature, normalizer=normalizer)


def test_it_is_the_kl_of_each_text_s_own_units():
    """Padding in the softmax takes probability from short contexts."""
    expected, start = 0.0, 0
    for count in COUNTS:
        for which in (0, 1):
            teacher, student = (
                softmax(draw(seed)[start : start + count, which].double().numpy() / 2)
                for seed in (2, 1)
            )
            expected += 4 * (teacher * np.log(teacher / student)).sum()
        start += count
    assert kl(draw(1), draw(2)).item() == pytest.approx(expected / 3, rel=1e-5)


def test_labels_are_the_units_where_answers_start_and_end():
    """Ends learned as starts, or counted from the beginning of the pass."""
    logits, labels, _ = as_distributions(draw(1), LABELS, None, TEXTS)
    assert labels.tolist() == [1, 0, IGNORE_INDEX, 4, 0, IGNORE_INDEX]
    student = draw(1).double().numpy()
    expected = -np.log(softmax(student[:5, 0])[1]) - np.log(softmax(student[:5, 1])[4])
    found = hard_label_loss(logits, labels, normalizer=1)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_a_shape_known_beforehand_changes_nothing():
    """Counted on the host, so that a GPU is not waited for: and counted otherwise."""
    counted = as_distributions(draw(1), LABELS, draw(2), TEXTS)
    known = as_distributions(draw(1), LABELS, draw(2), TEXTS, shape=(len(COUNTS), max(COUNTS)))
    assert all(torch.equal(one, other) for one, other in zip(counted, known, strict=True))


def test_gradients_are_those_of_finite_differences():
    """Filled slots that pull: a gradient into logits that are no unit's."""
    teacher = draw(2)

    def of(student):
        logits, labels, other = as_distributions(student, LABELS, teacher, TEXTS)
        soft = soft_target_loss(logits, other, temperature=2.0, normalizer=3.0)
        return soft + hard_label_loss(logits, labels, normalizer=2)

    leaf = draw(1).requires_grad_()
    of(leaf).backward()
    for unit, which in ((0, 0), (5, 1), (8, 0)):
        step = torch.zeros(9, 2)
        step[unit, which] = 1e-2
        with torch.no_grad():
            slope = (of(draw(1) + step) - of(draw(1) - step)) / 2e-2
        assert leaf.grad[unit, which].item() == pytest.approx(slope.item(), abs=2e-4)


def test_the_longest_text_of_a_pass_does_not_weigh_in_the_others():
    """A step in passes is another step than in one."""
    whole = kl(draw(1), draw(2)).item()
    parts, start = 0.0, 0
    for count in COUNTS:
        part = slice(start, start + count)
        texts = torch.zeros(count, dtype=torch.int64)
        parts += kl(draw(1)[part], draw(2)[part], texts).item()
        start += count
    assert parts == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite_and_equal_ones_have_no_loss(dtype):
    """exp(-1e4) of a filled slot times a difference that is no number."""
    texts = torch.tensor([0, 0, 0, 1])
    student = torch.tensor([[300.0, 0], [-300, 5], [0, 0], [7, 7]], dtype=dtype).requires_grad_()
    teacher = torch.tensor([[-300.0, 0], [300, 0], [0, 0], [1, 2]], dtype=dtype)
    loss = kl(student, teacher, texts, temperature=0.5)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()
    same = kl(teacher.clone(), teacher, texts, temperature=1.0)
    assert -1e-6 <= same.item() <= 1e-6
