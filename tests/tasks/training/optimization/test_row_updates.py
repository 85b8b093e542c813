"""Row updates are AdamW for the rows of a step, counted right in the gradient's norm."""

import math

import pytest
import torch
from torch import nn

from tasks.training.optimization.adamw import build_optimizer, prepare_embeddings
from tasks.training.optimization.config import TrainingConfig
from tasks.training.optimization.row_updates import RowAdamW, clip_gradients

CONFIG = TrainingConfig(num_epochs=1, learning_rate=0.05, weight_decay=0.1)
BETA1, BETA2, EPS = 0.9, CONFIG.adam_beta2, 1e-8


def embedding(rows=6, width=3, updates="rows", padding_idx=None):
    torch.manual_seed(4)
    made = nn.Embedding(rows, width, padding_idx=padding_idx)
    prepare_embeddings(made, updates)
    return made


def descend(made, optimizer, steps, *, max_norm=None):
    """One step for each list of ids; the loss makes every occurrence pull another way."""
    for number, ids in enumerate(steps, start=1):
        optimizer.zero_grad()
        target = torch.linspace(-1, 1, len(ids) * 3).reshape(len(ids), 3) * number
        ((made(torch.tensor(ids)) - target) ** 2).sum().backward()
        if max_norm:
            clip_gradients(made.parameters(), max_norm)
        optimizer.step()


def reference(weights, steps, rate=0.05, decay=0.1):
    """The documented rule, row by row in Python floats (float64)."""
    rows = [list(map(float, row)) for row in weights]
    width = len(rows[0])
    first, second = ([[0.0] * width for _ in rows] for _ in range(2))
    last = [0] * len(rows)
    for step, ids in enumerate(steps, start=1):
        targets = (torch.linspace(-1, 1, len(ids) * 3).reshape(len(ids), 3) * step).tolist()
        gradients = {row: [0.0] * width for row in ids}
        for place, row in enumerate(ids):
            for d in range(width):
                gradients[row][d] += 2 * (rows[row][d] - targets[place][d])
        for row, gradient in gradients.items():
            gap = step - last[row]
            last[row] = step
            for d, g in enumerate(gradient):
                first[row][d] = BETA1**gap * first[row][d] + (1 - BETA1) * g
                second[row][d] = BETA2**gap * second[row][d] + (1 - BETA2) * g * g
                m = first[row][d] / (1 - BETA1**step)
                v = second[row][d] / (1 - BETA2**step)
                rows[row][d] *= 1 - rate * decay
                rows[row][d] -= rate * m / (math.sqrt(v) + EPS)
    return torch.tensor(rows)


GAPS = [[0, 1, 1], [1, 2], [0], [4, 4, 4, 1], [2, 0], [0, 1]]


def test_rows_follow_the_documented_rule():
    """Moments that age by occurrences instead of steps: rare words jump when they come back."""
    made = embedding()
    start = made.weight.detach().clone()
    descend(made, build_optimizer(made, CONFIG), GAPS)
    torch.testing.assert_close(made.weight.detach(), reference(start, GAPS), rtol=1e-5, atol=1e-6)
    assert torch.equal(made.weight[3], start[3])  # never occurred
    assert torch.equal(made.weight[5], start[5])


def test_rows_that_always_occur_are_trained_as_by_dense_adamw():
    """`rows` would be another optimizer, not a faster one."""
    steps = [[0, 1, 2, 3], [3, 2, 1, 0, 0], [1, 0, 3, 2]]
    lazy, dense = embedding(4), embedding(4, updates="dense")
    plain = torch.optim.AdamW(dense.parameters(), lr=0.05, weight_decay=0.1)
    descend(lazy, build_optimizer(lazy, CONFIG), steps)
    descend(dense, plain, steps)
    torch.testing.assert_close(lazy.weight, dense.weight, rtol=1e-5, atol=1e-6)


def test_moments_of_absent_rows_decay_as_in_dense_adamw():
    """At its return a row would be pushed by the full momentum of long ago."""
    steps = [[0, 1], [1], [1], [1], [0]]
    lazy, dense = embedding(2), embedding(2, updates="dense")
    ours = build_optimizer(lazy, CONFIG)
    plain = torch.optim.AdamW(dense.parameters(), lr=0.0, weight_decay=0.0)
    for group in ours.param_groups:
        group["lr"] = 0.0  # with still weights both see the same gradients
    descend(lazy, ours, steps)
    descend(dense, plain, steps)
    for name in ("exp_avg", "exp_avg_sq"):
        found, expected = ours.state[lazy.weight][name], plain.state[dense.weight][name]
        torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-7)


def test_weights_with_dense_gradients_are_plain_adamw_to_the_bit():
    """A new optimizer class that changes every model that never asked for it."""
    torch.manual_seed(0)
    layer = nn.Linear(5, 5)
    twin = nn.Linear(5, 5)
    twin.load_state_dict(layer.state_dict())
    pair = [
        (layer, RowAdamW(layer.parameters(), lr=0.01, fused=True)),
        (twin, torch.optim.AdamW(twin.parameters(), lr=0.01, fused=True)),
    ]
    for module, optimizer in pair:
        for step in range(3):
            optimizer.zero_grad()
            module(torch.full((2, 5), float(step + 1))).pow(2).sum().backward()
            optimizer.step()
    assert all(
        torch.equal(layer.state_dict()[name], twin.state_dict()[name])
        for name in ("weight", "bias")
    )


@pytest.mark.parametrize("max_norm", [0.5, 1e9])
def test_the_norm_counts_a_repeated_row_once_by_its_sum(max_norm):
    """Norms over uncoalesced values: clipping depends on how often a word is said in a batch."""
    found = {}
    for updates in ("rows", "dense"):
        made, other = embedding(updates=updates), nn.Parameter(torch.ones(4))
        loss = (made(torch.tensor([1, 1, 1, 2])) * 3).sum() + (other**2).sum()
        loss.backward()
        norm = clip_gradients([*made.parameters(), other], max_norm)
        gradient = made.weight.grad.to_dense() if updates == "rows" else made.weight.grad
        found[updates] = (norm, gradient, other.grad)
    for ours, expected in zip(*found.values(), strict=True):
        torch.testing.assert_close(ours, expected)
    by_hand = math.sqrt(3 * 9.0**2 + 3 * 3.0**2 + 4 * 2.0**2)
    assert found["rows"][0].item() == pytest.approx(by_hand, rel=1e-6)


def test_clipped_row_updates_equal_clipped_dense_ones():
    """Gradients scaled in a copy: the norm is reported small and nothing is scaled."""
    steps = [[0, 1, 1], [1, 0]]
    lazy, dense = embedding(2), embedding(2, updates="dense")
    descend(lazy, build_optimizer(lazy, CONFIG), steps, max_norm=0.1)
    plain = torch.optim.AdamW(dense.parameters(), lr=0.05, weight_decay=0.1)
    descend(dense, plain, steps, max_norm=0.1)
    torch.testing.assert_close(lazy.weight, dense.weight, rtol=1e-5, atol=1e-6)


def test_padding_is_never_updated():
    """Every batch would train the row of [PAD]."""
    made = embedding(padding_idx=0)
    start = made.weight.detach().clone()
    descend(made, build_optimizer(made, CONFIG), [[0, 1, 0], [0, 2]])
    assert torch.equal(made.weight[0], start[0])
