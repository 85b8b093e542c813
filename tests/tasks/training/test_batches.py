"""Batches: every row once an epoch, in an order that depends on nothing but seed and epoch."""

import numpy as np
import pytest

from tasks.training.batches import epoch_order, num_steps


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize(("rows", "batch_size"), [(1, 4), (7, 3), (1000, 32), (64, 64)])
def test_an_epoch_visits_every_row_exactly_once(rows, batch_size, grouped):
    """Dropping the last, smaller batch loses rows silently (TextBrewer drops micro-batches)."""
    lengths = np.random.default_rng(0).integers(2, 40, rows)
    order = epoch_order(lengths, batch_size=batch_size, seed=1, epoch=0, grouped=grouped)
    assert sorted(np.concatenate(order).tolist()) == list(range(rows))
    assert len(order) == num_steps(rows, batch_size)


def test_order_repeats_for_the_same_seed_and_changes_with_epoch():
    lengths = np.random.default_rng(0).integers(2, 40, 300)
    first, again, second_epoch = (
        np.concatenate(epoch_order(lengths, batch_size=16, seed=3, epoch=epoch))
        for epoch in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != second_epoch).any()


def test_steps_hold_texts_of_similar_length():
    """Random steps pad every text to the longest of 32: half the arithmetic would be padding."""
    lengths = np.random.default_rng(0).integers(2, 60, 2000)
    order = epoch_order(lengths, batch_size=32, seed=0, epoch=0)
    padded = sum(len(rows) * lengths[rows].max() for rows in order)
    assert padded / lengths.sum() < 1.15


def test_ungrouped_steps_hold_texts_of_all_lengths():
    """Steps of short texts alone and of long texts alone: each pulls the weights its own way."""
    lengths = np.random.default_rng(0).integers(2, 60, 4000)
    order = epoch_order(lengths, batch_size=200, seed=0, epoch=0, grouped=False)
    means = [lengths[rows].mean() for rows in order]
    assert np.std(means) < 3 * lengths.std() / np.sqrt(200)
