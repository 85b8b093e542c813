"""From text to logits, the way a user of the model calls it: tokenize, pad, run.

The timed path of the evaluation. Texts are padded to the longest of their batch, as served.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer
from torch import nn

from tasks.corpus.tokens.pair_encoding import encode_pairs
from tasks.metrics.latency import Text
from tasks.metrics.scores.classification import FloatArray, IntArray

Answerer: TypeAlias = Callable[[Sequence[Text]], FloatArray]
"""Texts -> logits, float32, (texts, classes) or (texts, L, classes)."""


def torch_answerer(
    model: nn.Module,
    tokenizer_file: Path,
    *,
    pad_token_id: int,
    max_length_tokens: int,
    max_question_tokens: int | None = None,
) -> Answerer:
    """Answer with a torch encoder on the device it lies on.

    Args:
        model: maps (B, L) int64 ids and mask to (B, C) or (B, L, C) logits, in evaluation mode.
        tokenizer_file: `tokenizer.json`.
        pad_token_id: fills shorter texts; masked.
        max_length_tokens: longer texts are cut.
        max_question_tokens: tokens of a pair's first text that are read; the second is cut to what
            fits beside them. None: of pairs that are too long the longer text is cut.
    """
    encode = _encoder(tokenizer_file, pad_token_id, max_length_tokens, max_question_tokens)

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
    max_question_tokens: int | None = None,
) -> Answerer:
    """Answer with an ONNX model on the CPU: `input_ids`, `attention_mask` in, `logits` out.

    Args:
        num_threads: onnxruntime's own pool, set for a fair race with torch.
    """
    run = onnx_network(onnx_file, num_threads=num_threads)
    encode = _encoder(tokenizer_file, pad_token_id, max_length_tokens, max_question_tokens)

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
    tokenizer_file: Path,
    pad_token_id: int,
    max_length_tokens: int,
    max_question_tokens: int | None,
) -> Callable[[Sequence[Text]], tuple[IntArray, IntArray]]:
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    if max_question_tokens is not None:
        return _question_encoder(tokenizer, pad_token_id, max_length_tokens, max_question_tokens)
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    tokenizer.enable_truncation(max_length_tokens)
    tokenizer.no_padding()

    def encode(texts: Sequence[Text]) -> tuple[IntArray, IntArray]:
        if isinstance(texts[0], str):
            return _padded([text.ids for text in tokenizer.encode_batch([*texts])], pad_token_id)
        # The library, asked to cut pairs, makes every combination of what it cut off of both too.
        sides = [pa.array(side, pa.string()) for side in zip(*texts, strict=True)]
        pairs = encode_pairs(whole, *sides, max_length_tokens=max_length_tokens, workers=1)
        return _padded(pairs.input_ids.to_pylist(), pad_token_id)

    return encode


def _question_encoder(
    tokenizer: Tokenizer, pad_token_id: int, max_length_tokens: int, max_question_tokens: int
) -> Callable[[Sequence[Text]], tuple[IntArray, IntArray]]:
    """The first window of each context, as `tasks.corpus.tokens.window_encoding` cuts it.

    The library's own `only_second` gives up on a question that is longer than the window.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    num_special = tokenizer.num_special_tokens_to_add(is_pair=True)

    def encode(texts: Sequence[Text]) -> tuple[IntArray, IntArray]:
        questions, contexts = (
            tokenizer.encode_batch([*side], add_special_tokens=False)
            for side in zip(*texts, strict=True)
        )
        rows = []
        for question, context in zip(questions, contexts, strict=True):
            question.truncate(max_question_tokens)
            context.truncate(max(0, max_length_tokens - num_special - len(question)))
            rows.append(tokenizer.post_process(question, context).ids)
        return _padded(rows, pad_token_id)

    return encode


def _padded(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[IntArray, IntArray]:
    """Ids and mask of rows of tokens, as wide as the longest."""
    input_ids = np.full((len(rows), max(map(len, rows))), pad_token_id, dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    for number, ids in enumerate(rows):
        input_ids[number, : len(ids)], attention_mask[number, : len(ids)] = ids, 1
    return input_ids, attention_mask
