"""Encoder-decoders as they are used: sources in, written texts out, decoded as they were saved.

The same writer is scored on the stored tokens and timed from text: how a model searches (beams,
length penalty) is part of what it is, and read from its folder.

Shapes: B texts, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from tasks.metrics.answering import Text
from tasks.modeling.decoding import decode
from tasks.modeling.seq2seq import load_seq2seq
from tasks.modeling.seq2seq_config import DecodingConfig
from tasks.runtime.device import has_cuda
from tasks.training.loop import place

_BATCH_TEXTS = 64


class Writer:
    """One model with its reader's tokenizer."""

    def __init__(
        self, model: Path, tokens: Path, *, pad_token_id: int, vocab_size: int, max_length: int
    ) -> None:
        """Load.

        Args:
            model: folder of an encoder-decoder; generation_config.json says how it writes.
            tokens: folder of its reader's tokens: `tokenizer/tokenizer.json`.
            pad_token_id: fills shorter sources; masked.
            vocab_size: tokens that may be written.
            max_length: tokens of a source at most.
        """
        self._model = load_seq2seq(model)
        self._decoding = saved_decoding(self._model)
        self._tokenizer = Tokenizer.from_file(str(tokens / "tokenizer" / "tokenizer.json"))
        self._tokenizer.enable_truncation(max_length)
        self._padding, self._vocab_size = pad_token_id, vocab_size

    def write(self, sources: Sequence[Sequence[int]]) -> list[str]:
        """The best text for each source's token ids, in order; on CUDA where there is one."""
        if has_cuda():  # on a CPU, `place` would set the number of threads that timing relies on
            self._model.to(place())  # pyright: ignore[reportArgumentType]
        written = [""] * len(sources)
        order = sorted(range(len(sources)), key=lambda row: -len(sources[row]))
        for start in range(0, len(order), _BATCH_TEXTS):
            rows = order[start : start + _BATCH_TEXTS]
            for row, text in zip(rows, self._write([sources[row] for row in rows]), strict=True):
                written[row] = text
        return written

    def __call__(self, texts: Sequence[Text]) -> list[str]:
        """The best text for each source text, all in one batch: what a user waits for."""
        return self._write([one.ids for one in self._tokenizer.encode_batch(list(texts))])

    def _write(self, sources: Sequence[Sequence[int]]) -> list[str]:
        longest = max(map(len, sources))
        input_ids_BL = np.full((len(sources), longest), self._padding, dtype=np.int64)  # noqa: N806
        mask_BL = np.zeros_like(input_ids_BL)  # noqa: N806
        for row, ids in enumerate(sources):
            input_ids_BL[row, : len(ids)], mask_BL[row, : len(ids)] = ids, 1
        device = self._model.device
        found = decode(
            self._model,
            torch.from_numpy(input_ids_BL).to(device),
            torch.from_numpy(mask_BL).to(device),
            self._decoding,
            vocab_size=self._vocab_size,
        )
        return self._tokenizer.decode_batch(
            [list(hypotheses[0].token_ids) for hypotheses in found], skip_special_tokens=True
        )


def saved_decoding(model: PreTrainedModel) -> DecodingConfig:
    """How a loaded encoder-decoder writes, as `save_seq2seq` left it in generation_config.json."""
    saved: Any = model.generation_config
    known = {
        "num_beams": saved.num_beams,
        "length_penalty": saved.length_penalty,
        # transformers counts the decoder's start token.
        "min_length_tokens": max(0, saved.min_length - 1) if saved.min_length else 0,
        "max_length_tokens": saved.max_length - 1 if saved.max_length else None,
        "no_repeat_ngram_size": saved.no_repeat_ngram_size,
    }
    return DecodingConfig.model_validate(
        {name: value for name, value in known.items() if value is not None}
    )
