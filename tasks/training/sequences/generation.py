"""Texts that an encoder-decoder writes for many sources, in row order.

Sources of like length share a batch, so little of it is padding; which rows share one changes what
is written by rounding at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel

from tasks.modeling.encoder_decoder.config import DecodingConfig
from tasks.modeling.encoder_decoder.decoding import Hypothesis, decode
from tasks.modeling.evaluation_mode import evaluation_mode
from tasks.runtime.progress import Progress, SilentProgress
from tasks.training.batching.ragged import RaggedIds

if TYPE_CHECKING:
    import tokenizers

BATCH_TEXTS = 64
"""Texts written side by side: 64 fill the vector units of a core at 4 beams."""


def write(
    model: PreTrainedModel,
    input_ids: RaggedIds,
    decoding: DecodingConfig,
    *,
    pad_token_id: int,
    vocab_size: int,
    batch_texts: int = BATCH_TEXTS,
    progress: Progress | None = None,
) -> list[list[Hypothesis]]:
    """Hypotheses for each source, best first, in the order given; the model's mode is restored.

    Args:
        batch_texts: sources a batch.
    """
    progress = progress or SilentProgress()
    device = next(model.parameters()).device
    found: list[list[Hypothesis]] = [[] for _ in range(len(input_ids))]
    with evaluation_mode(model):
        for rows, ids_BL, mask_BL in source_batches(input_ids, batch_texts, pad_token_id):
            written = decode(
                model, ids_BL.to(device), mask_BL.to(device), decoding, vocab_size=vocab_size
            )
            for row, hypotheses in zip(rows.tolist(), written, strict=True):
                found[row] = hypotheses
            progress.advance(len(rows))
    return found


def source_batches(
    input_ids: RaggedIds, batch_texts: int, pad_token_id: int
) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor]]:
    """(rows, ids (B, L), mask (B, L)) of all sources, longest first: memory runs out at once."""
    order = np.argsort(-input_ids.lengths.astype(np.int64), kind="stable")
    for start in range(0, len(order), batch_texts):
        rows = order[start : start + batch_texts]
        lengths = input_ids.lengths[rows]
        ids_BL = np.full((len(rows), int(lengths.max())), pad_token_id, dtype=np.int64)
        for place, row in enumerate(rows):
            text = input_ids.values[input_ids.offsets[row] : input_ids.offsets[row + 1]]
            ids_BL[place, : len(text)] = text
        mask_BL = np.arange(ids_BL.shape[1]) < lengths[:, None]
        yield rows, torch.from_numpy(ids_BL), torch.from_numpy(mask_BL.astype(np.int64))


def load_reader(folder: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a model or tokens folder, which writes no padding and cuts nothing."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def to_texts(tokenizer: Any, hypotheses: Sequence[Hypothesis]) -> list[str]:
    """Hypotheses as texts, special tokens left out."""
    return tokenizer.decode_batch(
        [list(found.token_ids) for found in hypotheses], skip_special_tokens=True
    )
