"""The batches of an epoch as the engine makes them; benchmarks ask for them here only."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.training.batching.batches import Step, epoch_order, make_steps
from tasks.training.batching.examples import Examples
from tasks.training.batching.layouts import padded_layout


def epoch_batches(examples: Examples, batch_size: int, *, pad_token_id: int) -> Iterator[Step]:
    """Every step of the first epoch, in its order, on the CPU."""
    lengths = examples.input_ids.lengths
    order = epoch_order(lengths, batch_size=batch_size, seed=0, epoch=0)
    return make_steps(examples, order, layout=padded_layout(), pad_token_id=pad_token_id)
