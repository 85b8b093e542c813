"""Cross-entropy with class indices, against a float64 reference."""

import numpy as np
import pytest
import torch

from tasks.training.losses.hard import IGNORE_INDEX, hard_label_loss


def test_it_is_the_negative_log_probability_of_the_label(promises):
    """A mean over all rows instead of the labelled ones dilutes the few labels there are."""
    logits = promises.draw(5, 4, seed=1)
    labels = torch.tensor([3, IGNORE_INDEX, 0, 1, IGNORE_INDEX])
    expected = 0.0
    for row, label in zip(logits.double().numpy(), labels.tolist(), strict=True):
        if label != IGNORE_INDEX:
            expected += np.log(np.exp(row).sum()) - row[label]
    found = hard_label_loss(logits, labels, normalizer=3)
    assert found.item() == pytest.approx(expected / 3, rel=1e-6)


def test_sequences_count_each_labelled_token_once(promises):
    """A mask made of what the decoder reads loses the first token where its start is also padding:
    as many tokens must count as there are labels.
    """
    logits = promises.draw(2, 4, 6, seed=2).requires_grad_()
    labels = torch.tensor([[5, 1, 2, IGNORE_INDEX], [0, 4, IGNORE_INDEX, IGNORE_INDEX]])
    loss = hard_label_loss(logits, labels, normalizer=5)
    flat = hard_label_loss(logits.flatten(0, 1), labels.flatten(), normalizer=5)
    assert loss.item() == pytest.approx(flat.item())
    loss.backward()
    assert (logits.grad.abs().sum(-1) > 0).sum() == (labels != IGNORE_INDEX).sum()


def test_class_weights_are_taken_as_they_are(promises):
    """torch's mean divides by the weights of the rows: a pass of rare classes then counts less."""
    logits, labels = promises.draw(3, 3, seed=3), torch.tensor([0, 1, 1])
    weights = torch.tensor([5.0, 1.0, 1.0])
    single = [hard_label_loss(logits[i : i + 1], labels[i : i + 1], normalizer=1) for i in range(3)]
    found = hard_label_loss(logits, labels, normalizer=3, class_weights_C=weights)
    assert found.item() == pytest.approx((5 * single[0] + single[1] + single[2]).item() / 3)


def test_gradients_are_those_of_finite_differences(promises):
    logits = promises.draw(4, 3, seed=4).double().requires_grad_()
    labels = torch.tensor([0, 2, IGNORE_INDEX, 1])
    assert torch.autograd.gradcheck(
        lambda z: hard_label_loss(z, labels, normalizer=2.0, label_smoothing=0.1), (logits,)
    )


def test_extreme_logits_keep_loss_and_gradient_finite():
    """log(softmax) of ±1e4 taken in two steps is -inf."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        logits = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
        loss = hard_label_loss(logits, torch.tensor([1]), normalizer=1)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()
