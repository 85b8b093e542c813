"""Logits of many texts: sorted by length into token-bounded batches, returned in row order.

Shapes: B batch, L length, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from tasks.runtime.progress import Progress, SilentProgress
from tasks.training.batches import pad
from tasks.training.examples import RaggedIds


def predict_logits(
    model: nn.Module,
    input_ids: RaggedIds | pa.Array | pa.ChunkedArray | Sequence[np.ndarray],
    *,
    pad_token_id: int,
    batch_tokens: int = 16384,
    precision: str = "fp32",
    progress: Progress | None = None,
) -> np.ndarray:
    """Logits of every text in evaluation mode, without gradients.

    Args:
        model: maps (B, L) ids and mask to (B, C) logits; its own mode is restored afterwards.
        input_ids: token ids of each text.
        batch_tokens: padded tokens a batch at most: bounds memory.
        precision: `fp32`, or `bf16` for autocast.
    Returns: float32, (rows, classes), in the order given.
    """
    if not isinstance(input_ids, RaggedIds):
        input_ids = _ragged(input_ids)
    progress = progress or SilentProgress()
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    order = np.argsort(-input_ids.lengths, kind="stable")  # longest first: memory peaks at once
    logits: np.ndarray | None = None
    try:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"),
        ):
            start = 0
            while start < len(order):
                longest = max(1, int(input_ids.lengths[order[start]]))
                rows = order[start : start + max(1, batch_tokens // longest)]
                ids_BL, mask_BL = pad(input_ids, rows, pad_token_id=pad_token_id)
                logits_BC = model(ids_BL.to(device), mask_BL.to(device)).float().cpu().numpy()
                if logits is None:
                    logits = np.empty((len(order), logits_BC.shape[1]), dtype=np.float32)
                logits[rows] = logits_BC
                start += len(rows)
                progress.advance(len(rows))
    finally:
        model.train(was_training)
    return np.empty((0, 0), dtype=np.float32) if logits is None else logits


def _ragged(texts: pa.Array | pa.ChunkedArray | Sequence[np.ndarray]) -> RaggedIds:
    if isinstance(texts, (pa.Array, pa.ChunkedArray)):
        return RaggedIds.from_arrow(texts)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    values = np.concatenate([np.asarray(text, dtype=np.int32) for text in texts] or [[]])
    return RaggedIds(values.astype(np.int32), offsets)
