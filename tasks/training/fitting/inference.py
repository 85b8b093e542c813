"""Logits of many texts in row order: packed on CUDA, sorted into padded batches elsewhere.

Of a head over units they are those of all units, text after text.

On CUDA a pass holds as many tokens as fit: it starts from what keeps the device busy, halves when
memory runs out, and the size that fitted is remembered for the next part of the same model.

Shapes: B batch, L length, C classes, A answers (texts, or the units read out of them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from data_contracts.errors import ResourceExhausted
from tasks.modeling.evaluation_mode import evaluation_mode
from tasks.modeling.heads.units import Units
from tasks.modeling.texts import moved, pinned
from tasks.problems import Answers, Problem
from tasks.runtime.progress import Progress, SilentProgress
from tasks.training.batching.layout_choice import for_inference
from tasks.training.batching.layouts import Layout
from tasks.training.batching.passes import Pass, make_passes
from tasks.training.batching.prefetching import Prefetcher
from tasks.training.batching.ragged import RaggedIds
from tasks.training.engine.compilation import compiled, will_compile

# What a pass computes should stay in a core's cache, and short passes hold little padding. MiniLM
# on one core, texts of 4 to 24 tokens, texts/s in fp32 (bf16): 339 (577) in passes of 512 tokens,
# 327 (549) of 1,024, 299 (537) of 2,048, 248 (455) of 4,096, 180 (343) of 16,384. More cores want
# more.
CPU_PASS_TOKENS = 2048
# Pass size that fitted, by device and number of weights; only lowered by memory running out.
_fitted_tokens: dict[tuple[str, int], int] = {}


def predict_logits(
    model: nn.Module,
    input_ids: RaggedIds | pa.Array | pa.ChunkedArray | Sequence[np.ndarray],
    *,
    pad_token_id: int,
    batch_tokens: int = CPU_PASS_TOKENS,
    precision: str = "fp32",
    planned_tokens: int = 0,
    max_length_tokens: int = 0,
    progress: Progress | None = None,
    layout: Layout | None = None,
    units: Units | None = None,
) -> np.ndarray:
    """Logits of every text in evaluation mode, without gradients.

    Args:
        model: maps `Texts` to (A, C) logits; its own mode is restored afterwards.
        input_ids: token ids of each text.
        batch_tokens: padded tokens a pass at most on a CPU.
        precision: `fp32`, or `bf16` for autocast.
        planned_tokens: of all calls with this very network, this one among them: what compiling it
            is decided by. 0 if this is the only one.
        max_length_tokens: no text of any of these calls is longer; then they share compiled code.
        layout: how texts are laid out, instead of the fastest way for the device.
        units: what is read out of each text, for heads over units.
    Returns: float32, (A, C), in the order given.
    Raises: ResourceExhausted if not even the smallest pass fits the device.
    """
    if not isinstance(input_ids, RaggedIds):
        input_ids = _ragged(input_ids)
    if not len(input_ids):
        return np.empty((0, 0), dtype=np.float32)
    progress = progress or SilentProgress()
    num_tokens = int(input_ids.lengths.sum())
    is_compiled = will_compile(model, num_tokens=max(num_tokens, planned_tokens))
    layout = layout or for_inference(
        model,
        input_ids,
        pass_tokens=batch_tokens,
        pad_token_id=pad_token_id,
        precision=precision,
        compiled=is_compiled,
        max_length_tokens=max_length_tokens,
    )
    device = next(model.parameters()).device
    size_key = (str(device), sum(parameter.numel() for parameter in model.parameters()))
    while layout.pass_tokens > _fitted_tokens.get(size_key, layout.pass_tokens):
        layout = _smaller(layout, device)
    forward = compiled(model, static=layout.is_static) if is_compiled else model
    logits: np.ndarray | None = None
    # Equal texts of heads over texts are read once: translation pairs repeat a fifth of theirs.
    read_as = np.arange(len(input_ids)) if units is not None else input_ids.first_equals()
    pending = np.unique(read_as)
    progress.advance(len(input_ids) - len(pending))
    with (
        evaluation_mode(model),
        # Under inference mode autocast casts all weights in every pass; else once for all of them.
        torch.inference_mode() if device.type == "cuda" else torch.no_grad(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"),
    ):
        while len(pending):
            passes = make_passes(input_ids, pending, layout, pad_token_id=pad_token_id, units=units)
            read = np.zeros(len(pending), dtype=bool)
            for members, logits_AC in _scores(forward, passes, device):
                if logits is None:
                    total = len(input_ids) if units is None else len(units.positions)
                    logits = np.empty((total, logits_AC.shape[1]), dtype=np.float32)
                texts = pending[members]
                logits[texts if units is None else units.of(texts)] = logits_AC
                read[members] = True
                progress.advance(len(members))
            pending = pending[~read]
            if len(pending):
                layout = _smaller(layout, device)
                _fitted_tokens[size_key] = layout.pass_tokens
                torch.cuda.empty_cache()
    assert logits is not None
    return logits if units is not None else logits[read_as]


def predict_rows(
    model: nn.Module,
    problem: Problem,
    table: pa.Table,
    *,
    num_labels: int,
    pad_token_id: int,
    **options: Any,
) -> tuple[np.ndarray, Answers]:
    """Logits of the rows of a tokens table, and the answers that they are.

    Args:
        model: a network of `problem`.
        options: as for `predict_logits`.
    Returns: float32, (A, C), with the units and labels in the same order.
    """
    answers = problem.answers(table, num_labels=num_labels)
    logits = predict_logits(
        model, table["input_ids"], pad_token_id=pad_token_id, units=answers.units, **options
    )
    return logits, answers


def _scores(
    forward: Callable[..., Tensor], passes: Iterator[Pass], device: torch.device
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Members of each pass and their logits, until all are read or memory runs out."""
    prepare: Callable[[Pass], Pass] | None = pinned if device.type == "cuda" else None
    waiting: _Scored | None = None
    with Prefetcher(passes, prepare=prepare) as prefetched:
        for one in prefetched:
            try:
                texts = moved(one, device).texts
                num_answers = len(one.members) if texts.read_out_U is None else None
                logits_AC = forward(texts)[:num_answers].float()
            except torch.OutOfMemoryError:
                break
            if waiting:
                yield waiting.members, waiting.read()
            waiting = _Scored(one.members, logits_AC)
    if waiting:
        yield waiting.members, waiting.read()


class _Scored:
    """Logits on their way to the host: read a pass later, so that the device never waits for us."""

    def __init__(self, members: np.ndarray, logits_AC: Tensor) -> None:
        self.members = members
        self._logits_AC = logits_AC.to("cpu", non_blocking=True)  # into pinned memory, from CUDA
        self._arrived = torch.cuda.Event() if logits_AC.is_cuda else None
        if self._arrived:
            self._arrived.record()

    def read(self) -> np.ndarray:
        if self._arrived:
            self._arrived.synchronize()
        return self._logits_AC.numpy()


def _smaller(layout: Layout, device: torch.device) -> Layout:
    smaller = layout.halved()
    if smaller is None:
        raise ResourceExhausted(
            f"a pass of {layout.pass_tokens} tokens does not fit the memory of {device}",
            rule="at least the longest text fits",
            remedy="lower max_length_tokens, or score on a device with more memory",
        )
    return replace(smaller, max_texts=0)


def _ragged(texts: pa.Array | pa.ChunkedArray | Sequence[np.ndarray]) -> RaggedIds:
    if isinstance(texts, (pa.Array, pa.ChunkedArray)):
        return RaggedIds.from_arrow(texts)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    values = np.concatenate([np.asarray(text, dtype=np.int32) for text in texts] or [[]])
    return RaggedIds(values.astype(np.int32), offsets)
