"""Which examples form each step, and their tensors.

The order is a pure function of (seed, epoch, lengths): resuming at step s rebuilds it exactly, and
nothing about it depends on workers. Texts of similar length share a step (sorted inside windows of
`_WINDOW_STEPS` steps), which on the quickstart's texts cuts padding from about a third to a few
per cent; the steps themselves are then shuffled again.

    lengths       9 3 4 8 3 9       window of 6, batch_size 2
    sorted        3 3 | 4 8 | 9 9   steps
    shuffled      9 9 | 3 3 | 4 8

Shapes: B batch, L length, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tasks.runtime.seeding import generator
from tasks.training.examples import Examples, RaggedIds
from tasks.training.losses import IGNORE_INDEX

_WINDOW_STEPS = 16


@dataclass(frozen=True)
class Batch:
    """Tensors of one step.

    Args:
        input_ids_BL: int64. attention_mask_BL: int64, 1 for real tokens.
        labels_B: int64, IGNORE_INDEX where there is none.
        teacher_logits_BC: float32 or None.
        num_labelled: rows with a hard label.
    """

    input_ids_BL: Tensor
    attention_mask_BL: Tensor
    labels_B: Tensor
    teacher_logits_BC: Tensor | None
    num_labelled: int

    @property
    def num_examples(self) -> int:
        """B."""
        return len(self.labels_B)


def num_steps(num_examples: int, batch_size: int) -> int:
    """Steps of an epoch: the last, smaller batch is kept, no example is dropped."""
    return -(-num_examples // batch_size)


def epoch_order(lengths: np.ndarray, *, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Row indices of each step of an epoch; every row exactly once.

    Args:
        lengths: tokens of each row.
    """
    rng = generator(seed, "order", epoch)
    permutation = rng.permutation(len(lengths))
    window = batch_size * _WINDOW_STEPS
    steps: list[np.ndarray] = []
    for start in range(0, len(permutation), window):
        rows = permutation[start : start + window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        steps.extend(rows[at : at + batch_size] for at in range(0, len(rows), batch_size))
    return [steps[position] for position in rng.permutation(len(steps))]


def pad(input_ids: RaggedIds, rows: np.ndarray, *, pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask of `rows`, right-padded to the longest: two (B, L) int64 tensors."""
    starts = input_ids.offsets[rows]
    lengths = input_ids.offsets[rows + 1] - starts
    columns = np.arange(int(lengths.max(initial=1)))
    real = columns[None, :] < lengths[:, None]
    ids = np.full(real.shape, pad_token_id, dtype=np.int64)
    ids[real] = input_ids.values[(starts[:, None] + columns[None, :])[real]]
    return torch.from_numpy(ids), torch.from_numpy(real.astype(np.int64))


def make_batch(examples: Examples, rows: np.ndarray, *, pad_token_id: int) -> Batch:
    """The tensors of one step, on the CPU."""
    input_ids_BL, attention_mask_BL = pad(examples.input_ids, rows, pad_token_id=pad_token_id)
    labels = examples.labels[rows]
    teacher = examples.teacher_logits
    return Batch(
        input_ids_BL,
        attention_mask_BL,
        torch.from_numpy(labels),
        None if teacher is None else torch.from_numpy(teacher[rows]),
        num_labelled=int((labels != IGNORE_INDEX).sum()),
    )
