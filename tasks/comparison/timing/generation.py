"""Encoder-decoders as they are used: sources in, written texts out, decoded as they were saved.

The same writer is scored on the stored tokens and timed from text: how a model searches (beams,
length penalty) is part of what it is, and read from the head.json of its folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from tasks.corpus.tokens.facts import read_token_facts
from tasks.metrics.latency import Text
from tasks.modeling.encoder_decoder.config import DecodingConfig
from tasks.modeling.encoder_decoder.network import load_seq2seq
from tasks.runtime.machine.device import has_cuda
from tasks.training.batching.ragged import RaggedIds
from tasks.training.engine.loop import place
from tasks.training.sequences.generation import load_reader, to_texts, write


class Writer:
    """One model with its reader's tokenizer."""

    def __init__(self, model: Path, tokens: Path) -> None:
        """Load.

        Args:
            model: folder of an encoder-decoder with head.json.
            tokens: the artifact of its reader's tokens: tokens.json, tokenizer.
        """
        head = json.loads((model / "head.json").read_text(encoding="utf-8"))
        facts = read_token_facts(tokens)
        self.decoding = DecodingConfig.model_validate(head["decoding"])
        self._model = load_seq2seq(model)
        self._padding, self._vocab_size = facts["pad_token_id"], facts["vocab_size"]
        self._reader = load_reader(tokens / "tokenizer")
        self._encoder = load_reader(tokens / "tokenizer")
        self._encoder.enable_truncation(facts["max_length_tokens"])

    def write(self, sources: pa.ChunkedArray) -> list[str]:
        """The best text for each source's token ids, in order; on CUDA where there is one."""
        if has_cuda():  # on a CPU, `place` would set the number of threads that timing relies on
            self._model.to(place())  # pyright: ignore[reportArgumentType]
        return self._write(sources)

    def __call__(self, texts: Sequence[Text]) -> list[str]:
        """The best text for each source text: what a user waits for."""
        ids = [one.ids for one in self._encoder.encode_batch(list(texts))]
        return self._write(pa.array(ids, pa.list_(pa.int32())))

    def _write(self, sources: pa.ChunkedArray | pa.Array) -> list[str]:
        hypotheses = write(
            self._model,
            RaggedIds.from_arrow(sources),
            self.decoding,
            pad_token_id=self._padding,
            vocab_size=self._vocab_size,
        )
        return to_texts(self._reader, [found[0] for found in hypotheses])
