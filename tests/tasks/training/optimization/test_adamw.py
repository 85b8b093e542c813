"""What AdamW decays, and the learning rate of each step."""

import pytest
from torch import nn

from tasks.training.optimization.adamw import build_optimizer, learning_rate
from tasks.training.optimization.config import TrainingConfig


def config(**changes):
    return TrainingConfig(**{"learning_rate": 0.1, "num_epochs": 1, "batch_size": 4, **changes})


def test_biases_and_norms_are_not_decayed_and_frozen_weights_left_out():
    """Norms pulled to zero shrink every layer; a frozen weight that decays is not frozen."""
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    model[0].weight.requires_grad_(False)
    optimizer = build_optimizer(model, config(weight_decay=0.3))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    expected = {model[1].weight: 0.3, model[1].bias: 0.0, model[2].weight: 0.0, model[2].bias: 0.0}
    assert decay == {id(parameter): value for parameter, value in expected.items()}


@pytest.mark.parametrize(("schedule", "halfway"), [("linear", 0.05), ("cosine", 0.05)])
def test_the_rate_rises_to_its_peak_and_falls_towards_zero(schedule, halfway):
    """A first step at the full rate undoes the pretraining, a last one the training."""
    setting = config(schedule=schedule, warmup_share=0.1)
    rates = [learning_rate(step, total_steps=100, config=setting) for step in range(100)]
    assert rates[:10] == pytest.approx([0.01 * (step + 1) for step in range(10)])
    assert max(rates) == rates[10] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(halfway)
    assert 0 < rates[-1] < 0.002


def test_without_warm_up_the_peak_comes_first():
    """A division by no warm-up steps."""
    setting = config(warmup_share=0.0)
    assert learning_rate(0, total_steps=1, config=setting) == pytest.approx(0.1)
