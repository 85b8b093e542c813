"""The batches of an epoch as the engine makes them; benchmarks ask for them here only."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.training.batches import Batch, epoch_order, make_batch
from tasks.training.examples import Examples


def epoch_batches(examples: Examples, batch_size: int, *, pad_token_id: int) -> Iterator[Batch]:
    """Every batch of the first epoch, in its order, on the CPU."""
    lengths = examples.input_ids.lengths
    for rows in epoch_order(lengths, batch_size=batch_size, seed=0, epoch=0):
        yield make_batch(examples, rows, pad_token_id=pad_token_id)
