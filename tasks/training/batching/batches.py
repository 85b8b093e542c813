"""Which examples form each step, and their tensors.

The order is a pure function of (seed, epoch, lengths): resuming at step s rebuilds it exactly, and
nothing about it depends on workers or on the layout. Texts of similar length share a step (sorted
inside windows of `_WINDOW_STEPS` steps), which on the quickstart's texts cuts padding from about a
third to a few per cent; the steps themselves are then shuffled again.

    lengths       9 3 4 8 3 9       window of 6, batch_size 2
    sorted        3 3 | 4 8 | 9 9   steps
    shuffled      9 9 | 3 3 | 4 8

Shapes: B batch, A answers (a text's class, or one for each unit read out of it), C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import numpy as np

from tasks.modeling.texts import Texts
from tasks.runtime.seeding import generator
from tasks.training.batching.examples import Examples
from tasks.training.batching.layouts import Layout
from tasks.training.batching.order import EpochOrder
from tasks.training.batching.passes import pad_steps
from tasks.training.batching.ragged import RaggedIds

_WINDOW_STEPS = 16
_ROWS_AT_ONCE = 2048


class Rows(Protocol):
    """What the loop needs to know of the rows it trains on, whatever a row is."""

    @property
    def input_ids(self) -> RaggedIds:
        """The texts, whose lengths decide which share a step."""
        ...

    def __len__(self) -> int: ...

    def at(self, step: int) -> Rows:
        """The rows as step `step` of the run reads them: they themselves, if nothing is drawn."""
        ...

    def normalizers(self, rows: np.ndarray) -> tuple[int, int]:
        """What loss sums over `rows` are divided by."""
        ...

    def batches(self, rows: np.ndarray, layout: Layout, *, pad_token_id: int) -> Iterator[Any]:
        """The tensors of `rows`, pass by pass; each row in one of them."""
        ...


@dataclass(frozen=True)
class Step:
    """What one optimizer step reads.

    Args:
        rows: which examples, int64.
        share: those of them that this process reads.
        passes: the tensors of the share, each example in one pass.
        layout: by which the passes were made.
        num_examples, num_labelled: distributions of the whole step (answers, or texts where a
            softmax runs over units) and how many have a label: what loss sums are divided by.
        number: of the step in its run, from 0.
    """

    rows: np.ndarray
    share: np.ndarray
    passes: tuple[Any, ...]
    layout: Layout
    num_examples: int
    num_labelled: int
    number: int = 0


def num_steps(num_examples: int, batch_size: int) -> int:
    """Steps of an epoch: the last, smaller batch is kept, no example is dropped."""
    return -(-num_examples // batch_size)


def epoch_order(
    lengths: np.ndarray, *, batch_size: int, seed: int, epoch: int, grouped: bool = True
) -> Sequence[np.ndarray]:
    """Row indices of each step of an epoch; every row exactly once.

    Args:
        lengths: tokens of each row.
        grouped: whether texts of similar length share a step.
    """
    rng = generator(seed, "order", epoch)
    windows = _WINDOW_STEPS if grouped else 1  # a window of one step is not sorted
    return EpochOrder(lengths, rng, batch_size=batch_size, window_steps=windows)


def make_step(
    examples: Rows,
    rows: np.ndarray,
    *,
    layout: Layout,
    pad_token_id: int,
    number: int = 0,
    share: np.ndarray | None = None,
    texts: Texts | None = None,
) -> Step:
    """The tensors of one step, on the CPU.

    Args:
        rows: all rows of the step.
        number: of the step in its run.
        share: those that this process reads; all if not given.
        texts: the share in one padded pass, if that was laid out before.
    """
    mine = rows if share is None else share
    examples = examples.at(number)
    num_examples, num_labelled = examples.normalizers(rows)
    return Step(
        rows,
        mine,
        _passes(examples, mine, layout, pad_token_id, texts),
        layout,
        num_examples=num_examples,
        num_labelled=num_labelled,
        number=number,
    )


def make_steps(
    examples: Rows,
    steps: Iterable[np.ndarray],
    *,
    layout: Layout,
    pad_token_id: int,
    first: int = 0,
    share: Callable[[np.ndarray], np.ndarray] = lambda rows: rows,
) -> Iterator[Step]:
    """`make_step` for one after the other; padded ones are laid out some thousand rows at once.

    Args:
        steps: all rows of each step.
        first: number of the first of them in the run.
        share: which of a step's rows this process reads.
    """
    numbers = count(first)
    for block in _blocks(steps):
        shares = [share(rows) for rows in block]
        texts: Sequence[Texts | None] = [None] * len(block)
        if layout.kind == "padded" and _are_texts_alone(examples) and all(map(len, shares)):
            texts = pad_steps(examples.input_ids, shares, pad_token_id=pad_token_id)
        for rows, mine, padded in zip(block, shares, texts, strict=True):
            yield make_step(
                examples,
                rows,
                layout=layout,
                pad_token_id=pad_token_id,
                number=next(numbers),
                share=mine,
                texts=padded,
            )


def _blocks(steps: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Steps in order, as many together as first reach `_ROWS_AT_ONCE` rows: they vary in size."""
    block: list[np.ndarray] = []
    num_rows = 0
    for rows in steps:
        block.append(rows)
        num_rows += len(rows)
        if num_rows >= _ROWS_AT_ONCE:
            yield block
            block, num_rows = [], 0
    if block:
        yield block


def _are_texts_alone(examples: Rows) -> bool:
    return isinstance(examples, Examples) and examples.units is None


def _passes(
    examples: Rows, rows: np.ndarray, layout: Layout, pad_token_id: int, texts: Texts | None
) -> tuple[Any, ...]:
    if texts is not None:
        assert isinstance(examples, Examples)
        return tuple(examples.batches(rows, layout, pad_token_id=pad_token_id, texts=texts))
    return tuple(examples.batches(rows, layout, pad_token_id=pad_token_id))
