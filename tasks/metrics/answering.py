"""From text to logits, the way a user of the model calls it: tokenize, pad, run.

The timed path of the evaluation. Texts are padded to the longest of their batch, as served.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from tasks.metrics.classification import FloatArray, IntArray

Text: TypeAlias = str | tuple[str, str]
"""A text, or two that are read together (a pair, a question and its context)."""

Answerer: TypeAlias = Callable[[Sequence[Text]], FloatArray]
"""Texts -> logits, float32, (texts, classes) or (texts, L, classes)."""


def torch_answerer(
    model: nn.Module,
    tokenizer_file: Path,
    *,
    pad_token_id: int,
    max_length_tokens: int,
    longest_second: bool = False,
) -> Answerer:
    """Answer with a torch encoder on the device it lies on.

    Args:
        model: maps (B, L) int64 ids and mask to (B, C) or (B, L, C) logits, in evaluation mode.
        tokenizer_file: `tokenizer.json`.
        pad_token_id: fills shorter texts; masked.
        max_length_tokens: longer texts are cut.
        longest_second: of pairs that are too long only the second text is cut.
    """
    encode = _encoder(tokenizer_file, pad_token_id, max_length_tokens, longest_second)

    def answer(texts: Sequence[Text]) -> FloatArray:
        input_ids, attention_mask = encode(texts)
        with torch.inference_mode():
            logits = model(torch.from_numpy(input_ids), torch.from_numpy(attention_mask))
        return logits.float().numpy()

    return answer


def onnx_answerer(
    onnx_file: Path,
    tokenizer_file: Path,
    *,
    pad_token_id: int,
    max_length_tokens: int,
    num_threads: int,
    longest_second: bool = False,
) -> Answerer:
    """Answer with an ONNX model on the CPU: `input_ids`, `attention_mask` in, `logits` out.

    Args:
        num_threads: onnxruntime's own pool, set for a fair race with torch.
    """
    run = onnx_network(onnx_file, num_threads=num_threads)
    encode = _encoder(tokenizer_file, pad_token_id, max_length_tokens, longest_second)

    def answer(texts: Sequence[Text]) -> FloatArray:
        return run(*encode(texts))

    return answer


def onnx_network(
    onnx_file: Path, *, num_threads: int
) -> Callable[[IntArray, IntArray], FloatArray]:
    """An ONNX model on the CPU: (B, L) int64 ids and mask -> float32 logits.

    Args:
        num_threads: of onnxruntime's own pool.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    session = onnxruntime.InferenceSession(
        str(onnx_file), sess_options=options, providers=["CPUExecutionProvider"]
    )

    def run(input_ids: IntArray, attention_mask: IntArray) -> FloatArray:
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        return np.asarray(session.run(["logits"], feed)[0], dtype=np.float32)

    return run


def answer_all(answer: Answerer, texts: Sequence[Text], *, batch_size: int) -> FloatArray:
    """Logits of all texts, (texts, classes), `batch_size` at a time in the order given."""
    starts = range(0, len(texts), batch_size)
    return np.concatenate([answer(texts[start : start + batch_size]) for start in starts])


def _encoder(
    tokenizer_file: Path, pad_token_id: int, max_length_tokens: int, longest_second: bool
) -> Callable[[Sequence[Text]], tuple[IntArray, IntArray]]:
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_truncation(
        max_length_tokens, strategy="only_second" if longest_second else "longest_first"
    )
    tokenizer.enable_padding(pad_id=pad_token_id, pad_token=tokenizer.id_to_token(pad_token_id))

    def encode(texts: Sequence[Text]) -> tuple[IntArray, IntArray]:
        encoded = tokenizer.encode_batch(list(texts))
        input_ids = np.array([text.ids for text in encoded], dtype=np.int64)
        return input_ids, np.array([text.attention_mask for text in encoded], dtype=np.int64)

    return encode
