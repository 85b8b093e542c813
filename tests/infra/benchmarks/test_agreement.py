"""What the comparison with other systems rests on: that all compute the same."""

import math

import pytest
import torch

from infra.benchmarks.agreement import differences, without_dropout
from infra.benchmarks.gpu_material import classifier


def test_a_system_that_computes_something_else_is_refused():
    """A peer of another decay or clipping whose time is reported as that of the same work."""
    found = differences(4.0, {"a": 4.0, "b": 4.00003}, tolerance=1e-5, of="30 steps")
    assert found == {"decant": 4.0, "a": 0.0, "b": pytest.approx(3e-5, rel=1e-3)}
    with pytest.raises(SystemExit, match="b's loss after 30 steps differs by 5e-05"):
        differences(4.0, {"a": 4.0, "b": 4.00005}, tolerance=1e-5, of="30 steps")
    with pytest.raises(SystemExit, match="nan"):
        differences(4.0, {"a": math.nan}, tolerance=1e-5, of="30 steps")
    # Of a small loss the tolerance is absolute.
    assert differences(0.1, {"a": 0.100009}, tolerance=1e-5, of="30 steps")["decant"] == 0.1


def test_without_dropout_two_passes_of_training_are_one():
    """Attention that still drops: then no two systems ever have the same loss."""
    ids = torch.randint(5, 50, (4, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    dropping = classifier((1, 16, 2), vocabulary=50, dropout=0.5).train()
    assert not torch.equal(dropping(ids, mask), dropping(ids, mask))
    same = without_dropout(classifier((1, 16, 2), vocabulary=50, dropout=0.5)).train()
    first, second = same(ids, mask), same(ids, mask)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, same.eval()(ids, mask))
