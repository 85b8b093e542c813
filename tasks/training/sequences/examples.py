"""Rows of encoder-decoders as flat arrays: source ids, target ids, and what a teacher says of them.

    sources   [5 6 7] [8 9]        targets   [3 4 eos] [2 eos]
    topk      one run of bytes for each target token, in their order (see topk_signals)

Shapes: B texts of a pass, L length, N target tokens of a pass (text after text), K likeliest kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tasks.modeling.texts import Texts
from tasks.training.batching.layouts import Layout
from tasks.training.batching.passes import make_passes
from tasks.training.batching.ragged import RaggedIds
from tasks.training.losses import IGNORE_INDEX
from tasks.training.losses.topk import SparseTargets
from tasks.training.sequences.token_signals import from_topk
from tasks.training.sequences.topk_signals import TopKCodec


@dataclass(frozen=True)
class Seq2SeqBatch:
    """Tensors of one forward and backward pass.

    Args:
        source: B texts, padded.
        labels_BL: int64, targets with their end mark, IGNORE_INDEX after it.
        from_teacher: the teacher's distributions over the N labels, text after text, or None.
    """

    source: Texts
    labels_BL: Tensor
    from_teacher: SparseTargets | None


@dataclass(frozen=True)
class Seq2SeqExamples:
    """Rows to train on or to score.

    Args:
        input_ids, target_ids: as many texts each; targets end with their end mark.
        topk: uint8, (target tokens, bytes of a token), if a teacher was asked.
        codec: how to read `topk`.
        groups, group_names: int64, (rows,), the language each text is read in, if it is known.
    """

    input_ids: RaggedIds
    target_ids: RaggedIds
    topk: np.ndarray | None = None
    codec: TopKCodec | None = None
    groups: np.ndarray | None = None
    group_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.input_ids)

    def at(self, step: int) -> Seq2SeqExamples:
        """Themselves: every step reads them alike."""
        del step
        return self

    def normalizers(self, rows: np.ndarray) -> tuple[int, int]:
        """Target tokens of `rows`, trained and labelled: all of them, both times."""
        num_tokens = int(self.target_ids.lengths[rows].sum())
        return num_tokens, num_tokens

    def batches(
        self, rows: np.ndarray, layout: Layout, *, pad_token_id: int
    ) -> Iterator[Seq2SeqBatch]:
        """The tensors of `rows`, pass by pass, sources padded as `layout` says."""
        for one in make_passes(self.input_ids, rows, layout, pad_token_id=pad_token_id):
            yield self._batch(one.texts, rows[one.members])

    def _batch(self, source: Texts, rows: np.ndarray) -> Seq2SeqBatch:
        starts, lengths = self.target_ids.offsets[rows], self.target_ids.lengths[rows]
        labels_BL = np.full((len(rows), int(lengths.max())), IGNORE_INDEX, dtype=np.int64)
        places_N = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        places_N = places_N + np.arange(int(lengths.sum()))
        labels_BL[np.arange(labels_BL.shape[1]) < lengths[:, None]] = self.target_ids.values[
            places_N
        ]
        from_teacher = None
        if self.topk is not None:
            assert self.codec is not None, "signals without the layout of their bytes"
            from_teacher = from_topk(self.codec.decode(self.topk[places_N]))
        return Seq2SeqBatch(source, torch.from_numpy(labels_BL), from_teacher)
