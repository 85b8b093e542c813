"""The order of an epoch is what a plain list of steps would be, in less memory."""

import numpy as np
import pytest

from tasks.training.batching.order import EpochOrder


def plain_order(lengths, seed, batch_size, window_steps):
    """The same order the plain way: 64-bit numbers, one array a step."""
    rng = np.random.Generator(np.random.PCG64(seed))
    permutation = rng.permutation(len(lengths))
    steps, window = [], batch_size * window_steps
    for start in range(0, len(permutation), window):
        rows = permutation[start : start + window]
        if window_steps > 1:
            rows = rows[np.argsort(lengths[rows], kind="stable")]
        steps += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    return [steps[position] for position in rng.permutation(len(steps))]


@pytest.mark.parametrize("window_steps", [1, 16])
@pytest.mark.parametrize(("rows", "batch_size"), [(1, 4), (7, 3), (5000, 32), (512, 32), (513, 1)])
def test_the_order_is_that_of_a_list_of_steps(rows, batch_size, window_steps):
    """A permutation in four bytes instead of eight that draws other numbers: no run repeats."""
    lengths = np.random.default_rng(0).integers(2, 40, rows)
    rng = np.random.Generator(np.random.PCG64(5))
    order = EpochOrder(lengths, rng, batch_size=batch_size, window_steps=window_steps)
    expected = plain_order(lengths, 5, batch_size, window_steps)
    assert len(order) == len(expected)
    for mine, other in zip(order, expected, strict=True):
        assert np.array_equal(mine, other)
    assert np.array_equal(order[-1], expected[-1])
    assert [rows.tolist() for rows in order[1:3]] == [rows.tolist() for rows in expected[1:3]]
