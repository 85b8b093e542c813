"""Class weights: more for rare classes, the same loss scale, nothing for classes without rows."""

import numpy as np
import pytest
import torch

from tasks.training.losses import IGNORE_INDEX, hard_label_loss
from tasks.training.objectives.class_weights import class_weights

LABELS = np.array([0] * 90 + [1] * 9 + [2] + [IGNORE_INDEX] * 5)


def test_balanced_weights_give_each_class_the_same_say():
    """The class with three rows was learned by chance."""
    weights = class_weights(LABELS, num_labels=3, kind="balanced")
    np.testing.assert_allclose(weights, [100 / 270, 100 / 27, 100 / 3], rtol=1e-6)  # n / (C * n_c)


@pytest.mark.parametrize("kind", ["sqrt", "balanced"])
def test_weights_average_one_over_the_rows(kind):
    """Turning weights on changed the learning rate by another name."""
    weights = class_weights(LABELS, num_labels=4, kind=kind).numpy()
    assert weights[LABELS[LABELS != IGNORE_INDEX]].mean() == pytest.approx(1.0)
    assert weights[3] == 0.0
    assert weights[2] > weights[1] > weights[0]


def test_where_several_may_be_right_a_yes_counts_one_on_average():
    """A loss several times as large because one class is rare: another learning rate."""
    labels = np.zeros((100, 3), dtype=np.int64)
    labels[:60, 0] = labels[50:90, 1] = 1
    labels[99] = IGNORE_INDEX
    labels[98, 2] = 1
    weights = class_weights(labels, num_labels=3, kind="balanced").numpy()
    said_yes = np.array([60, 40, 1])
    assert (weights * said_yes).sum() / 101 == pytest.approx(1.0)
    np.testing.assert_allclose(weights * said_yes, weights[0] * 60, rtol=1e-6)  # the same say


def test_no_weights_unless_asked():
    """A default that changed every model."""
    assert class_weights(LABELS, num_labels=3, kind="none") is None


def test_the_loss_counts_examples_by_their_class():
    """Weights that reached the normaliser as well cancelled out."""
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, IGNORE_INDEX, 1])
    weights = torch.tensor([0.5, 1.0, 4.0])
    log_probs = logits.double().log_softmax(1)
    expected = -(0.5 * log_probs[0, 0] + 4.0 * log_probs[1, 2] + 1.0 * log_probs[3, 1]) / 3
    loss = hard_label_loss(logits, labels, normalizer=3, class_weights_C=weights)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
