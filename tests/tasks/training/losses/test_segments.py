"""Softmax over the units of a text, against one text at a time without padding."""

from functools import partial

import numpy as np
import pytest
import torch

from tasks.training.losses.hard import IGNORE_INDEX
from tasks.training.losses.segments import segment_kl_loss, segment_label_loss

COUNTS = (5, 1, 3, 0)
MASK = torch.arange(5) < torch.tensor(COUNTS).unsqueeze(1)


@pytest.fixture
def logits(promises):
    student, teacher = promises.draw(4, 5, seed=41), promises.draw(4, 5, seed=42)
    # What padding holds must never matter.
    return student.masked_fill(~MASK, 1e4), teacher.masked_fill(~MASK, torch.nan)


def softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum()


def test_it_is_the_kl_of_each_text_s_own_units(logits):
    """Padding in the softmax takes probability from short contexts."""
    expected = 0.0
    rows = (one.double().numpy() for one in logits)
    for count, student, teacher in zip(COUNTS, *rows, strict=True):
        if count:
            p, q = softmax(teacher[:count] / 2), softmax(student[:count] / 2)
            expected += 4 * (p * np.log(p / q)).sum()
    found = segment_kl_loss(*logits, MASK, temperature=2.0, normalizer=3)
    assert found.item() == pytest.approx(expected / 3, rel=1e-5)


def test_labels_count_among_real_units(logits):
    labels = torch.tensor([4, 0, IGNORE_INDEX, IGNORE_INDEX])
    student = logits[0].double().numpy()
    expected = -np.log(softmax(student[0])[4]) - np.log(softmax(student[1][:1])[0])
    found = segment_label_loss(logits[0], labels, MASK, normalizer=2)
    assert found.item() == pytest.approx(expected / 2, rel=1e-5)


def test_gradients_are_those_of_finite_differences_and_none_at_padding(logits):
    student, teacher = logits
    student = student.masked_fill(~MASK, 0.3).double().requires_grad_()
    kl = partial(segment_kl_loss, mask_BU=MASK, temperature=2.0, normalizer=3.0)
    assert torch.autograd.gradcheck(
        lambda z: kl(z, teacher.nan_to_num(9.0).double()), (student,), atol=1e-6
    )
    labels = torch.tensor([4, 0, 2, IGNORE_INDEX])
    hard = segment_label_loss(student, labels, MASK, normalizer=3)
    (hard + kl(student, teacher.double())).backward()
    assert torch.isfinite(student.grad).all()
    assert not student.grad[~MASK].any()


def test_more_padding_changes_nothing(logits):
    """The longest context of a pass must not weigh in the others' loss."""
    wide = [torch.cat([one, torch.full((4, 3), 77.0)], 1) for one in logits]
    mask = torch.cat([MASK, torch.zeros(4, 3, dtype=torch.bool)], 1)
    narrow = segment_kl_loss(*logits, MASK, temperature=1.0, normalizer=3)
    found = segment_kl_loss(*wide, mask, temperature=1.0, normalizer=3)
    assert found.item() == pytest.approx(narrow.item(), rel=1e-6)


def test_texts_add_up_over_passes(logits):
    """A pass in which no text has a unit gives 0, not NaN."""
    whole = segment_kl_loss(*logits, MASK, temperature=1.0, normalizer=3)
    parts = [
        segment_kl_loss(*(one[i : i + 1] for one in logits), MASK[i : i + 1],
                        temperature=1.0, normalizer=3).item()
        for i in range(4)
    ]  # fmt: skip
    assert sum(parts) == pytest.approx(whole.item(), rel=1e-5)
    assert parts[3] == 0.0


def test_extreme_logits_and_equal_logits(promises):
    mask = torch.tensor([[True, True, True, False]])
    for dtype in (torch.float32, torch.bfloat16):
        student = torch.tensor([[1e4, -1e4, 0.0, 0.0]], dtype=dtype, requires_grad=True)
        teacher = torch.tensor([[-1e4, 1e4, 0.0, 0.0]], dtype=dtype)
        loss = segment_kl_loss(student, teacher, mask, temperature=0.05, normalizer=1)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(student.grad).all()
        same = segment_kl_loss(teacher.clone(), teacher, mask, temperature=1.0, normalizer=1)
        assert -1e-6 <= same.item() <= 1e-6


def test_an_answer_in_the_padding_stops_training_and_other_masks_are_refused(logits):
    """A label past a window's end would be learned as whatever stands there."""
    loss = segment_label_loss(logits[0], torch.tensor([0, 3, 0, IGNORE_INDEX]), MASK, normalizer=3)
    assert loss.item() == torch.inf
    with pytest.raises(ValueError, match="one bool a slot"):
        segment_kl_loss(*logits, MASK[:, 0], temperature=1.0, normalizer=1)
    with pytest.raises(ValueError, match="one bool a slot"):
        segment_kl_loss(*logits, MASK.float(), temperature=1.0, normalizer=1)
    with pytest.raises(ValueError, match="labels"):
        segment_label_loss(logits[0], torch.zeros(3, dtype=torch.int64), MASK, normalizer=1)
