"""Batches: every row once an epoch, in an order that depends on nothing but seed and epoch."""

import numpy as np
import pytest

from tasks.training.batching.batches import epoch_order, make_step, make_steps, num_steps
from tasks.training.batching.examples import Examples
from tasks.training.batching.layouts import Layout
from tasks.training.batching.passes import pad_steps
from tasks.training.batching.ragged import RaggedIds


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


@pytest.mark.parametrize("batch_size", [1, 3, 5000])
@pytest.mark.parametrize("layout", [Layout("padded", 0), Layout("bucketed", 16)])
def test_steps_laid_out_together_are_those_laid_out_one_by_one(batch_size, layout):
    """A text that ends in another's tokens, or a mask of another step's width."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 9, 4099)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.integers(10, 60_000, offsets[-1]).astype(np.uint16)
    labels = rng.integers(-1, 4, len(lengths))
    logits = rng.normal(size=(len(lengths), 4)).astype(np.float32)
    examples = Examples(None, RaggedIds(values, offsets), labels, logits, tuple("abcd"))
    order = epoch_order(lengths, batch_size=batch_size, seed=0, epoch=0)[:90]
    for share in (lambda rows: rows, lambda rows: rows[1::2]):
        made = make_steps(examples, order, layout=layout, pad_token_id=7, share=share)
        for rows, step in zip(order, made, strict=True):
            alone = make_step(examples, rows, layout=layout, pad_token_id=7, share=share(rows))
            assert (step.rows == rows).all()
            assert (step.share == share(rows)).all()
            assert (step.num_examples, step.num_labelled) == (len(rows), (labels[rows] >= 0).sum())
            assert len(step.passes) == len(alone.passes)
            for one, other in zip(step.passes, alone.passes, strict=True):
                assert one.texts.input_ids.equal(other.texts.input_ids)
                assert one.texts.attention_mask_BL.equal(other.texts.attention_mask_BL)
                assert one.labels_A.equal(other.labels_A)
                assert one.teacher_logits_AC.equal(other.teacher_logits_AC)


def test_steps_are_numbered_as_in_the_whole_run_and_rows_are_asked_by_number():
    """A resumed run that counts its steps from 0 draws the masks of the first ones again."""
    ids = RaggedIds(np.arange(10, dtype=np.int32), np.arange(11))
    asked = []

    class Drawn(Examples):
        def at(self, step):
            asked.append(step)
            return self

    examples = Drawn(None, ids, np.zeros(10, dtype=np.int64), None, ("a",))
    steps = make_steps(
        examples,
        [np.array([1, 2]), np.array([3])],
        layout=Layout("bucketed", 8),
        pad_token_id=0,
        first=7,
    )
    assert [step.number for step in steps] == asked == [7, 8]


def test_a_small_step_in_front_does_not_bring_thousands_with_it(monkeypatch):
    """An epoch's last step of one row is visited first: 25,600 rows were padded at once."""
    offsets = np.arange(25_602)
    ids = RaggedIds(np.zeros(25_601, dtype=np.uint16), offsets)
    examples = Examples(None, ids, np.zeros(25_601, dtype=np.int64), None, ("a",))
    steps = np.split(np.arange(25_601), range(1, 25_601, 256))
    assert [len(rows) for rows in steps] == [1, *[256] * 100]
    rows_at_once = []

    def counted(input_ids, shares, **fields):
        rows_at_once.append(sum(map(len, shares)))
        return pad_steps(input_ids, shares, **fields)

    monkeypatch.setattr("tasks.training.batching.batches.pad_steps", counted)
    made = list(make_steps(examples, steps, layout=Layout("padded", 0), pad_token_id=0))
    assert [len(step.rows) for step in made] == [1, *[256] * 100]
    assert sum(rows_at_once) == 25_601
    assert max(rows_at_once) <= 2048 + 256
    assert len(rows_at_once) <= 13  # still some thousand at once
