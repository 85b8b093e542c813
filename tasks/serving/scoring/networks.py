"""A delivered student's network, asked for many texts at once: token ids → logits.

    OnnxNetwork    the int8 graph on the CPU; needs no torch in memory
    TorchNetwork   the safetensors weights, through the engine's own inference, GPU included

Texts are sorted by length and cut into batches of a token budget, so that padding costs a few per
cent whatever the lengths. For the int8 graph a batch is one task of a thread pool and computes on
one thread: products of a small student are too small to share between cores, and so its answers do
not depend on their number. An int8 activation's scale is taken over its batch, so an answer moves
within rounding when its neighbours change; the same file gives the same answers, and equal texts
that are read together the same one.

Shapes: B batch, L length, C classes, A answers (texts, or the units read out of them).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa

from data_contracts.errors import SourceError
from tasks.modeling.heads.units import Units
from tasks.runtime.machine.device import thread_count
from tasks.training.batching.ragged import RaggedIds

Variant = Literal["onnx_int8", "safetensors"]


class Network(Protocol):
    """Answers texts that are given as token ids."""

    def logits(self, input_ids: pa.ListArray, units: Units | None = None) -> np.ndarray:
        """Token ids of each text, list<int32>, to float32 logits (A, C) in the same order.

        Args:
            units: what is read out of each text, for a head on tokens; otherwise A are the texts.
        """
        ...


def load_network(
    folder: Path,
    variant: Variant,
    *,
    pad_token_id: int,
    batch_tokens: int,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
) -> Network:
    """The network of a delivered model's folder.

    Args:
        variant: which of its two forms.
        pad_token_id: fills the shorter texts of a batch.
        batch_tokens: padded tokens a batch at most; bounds memory.
        precision: arithmetic of `safetensors`; the int8 graph has its own.
    Raises: SourceError if the folder lacks that form.
    """
    if variant == "onnx_int8":
        return OnnxNetwork(
            folder / "model.int8.onnx", pad_token_id=pad_token_id, batch_tokens=batch_tokens
        )
    return TorchNetwork(
        folder, pad_token_id=pad_token_id, batch_tokens=batch_tokens, precision=precision
    )


class OnnxNetwork:
    """An ONNX graph with inputs `input_ids`, `attention_mask` and the output `logits`."""

    def __init__(self, graph: Path, *, pad_token_id: int, batch_tokens: int) -> None:
        """Read the graph; see `load_network`."""
        import onnxruntime

        if not graph.is_file():
            raise SourceError(
                f"{graph.parent} holds no {graph.name}",
                rule="the variant onnx_int8 needs the graph that the step export writes",
                remedy="give an exported or registered student, or --variant safetensors",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(graph), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._pad_token_id, self._batch_tokens = pad_token_id, batch_tokens
        self._threads = ThreadPoolExecutor(thread_count(), thread_name_prefix="onnx")

    def logits(self, input_ids: pa.ListArray, units: Units | None = None) -> np.ndarray:
        """See `Network`."""
        texts = RaggedIds.from_arrow(input_ids)
        # Equal texts of heads over texts are read once, and answered alike.
        read_as = np.arange(len(texts)) if units is not None else texts.first_equals()
        pending = np.unique(read_as)
        batches = [
            pending[rows] for rows in token_batches(texts.lengths[pending], self._batch_tokens)
        ]

        def answer(rows: np.ndarray) -> np.ndarray:
            ids_BL, mask_BL = padded(
                texts.values, texts.offsets, rows, pad_token_id=self._pad_token_id
            )
            feed = {"input_ids": ids_BL, "attention_mask": mask_BL}
            logits = np.asarray(self._session.run(["logits"], feed)[0], dtype=np.float32)
            if units is None:
                return logits
            places = np.repeat(np.arange(len(rows)), units.counts(rows))
            return logits[places, units.positions[units.of(rows)]]

        found = list(self._threads.map(answer, batches))
        width = found[0].shape[1] if found else 0
        num_answers = len(input_ids) if units is None else len(units.positions)
        logits = np.empty((num_answers, width), dtype=np.float32)
        for rows, logits_AC in zip(batches, found, strict=True):
            logits[rows if units is None else units.of(rows)] = logits_AC
        return logits if units is not None else logits[read_as]


class TorchNetwork:
    """The trained network, on the GPU if there is one."""

    def __init__(
        self,
        folder: Path,
        *,
        pad_token_id: int,
        batch_tokens: int,
        precision: Literal["auto", "fp32", "bf16"],
    ) -> None:
        """Read the weights; see `load_network`."""
        from tasks.problems import load_model
        from tasks.runtime.machine.device import resolve_precision
        from tasks.training.engine.loop import place

        self._model = load_model(folder).to(place())
        self._pad_token_id, self._batch_tokens = pad_token_id, batch_tokens
        self._precision = resolve_precision(precision)

    def logits(self, input_ids: pa.ListArray, units: Units | None = None) -> np.ndarray:
        """See `Network`."""
        from tasks.training.fitting.inference import predict_logits

        return predict_logits(
            self._model,
            input_ids,
            pad_token_id=self._pad_token_id,
            batch_tokens=self._batch_tokens,
            precision=self._precision,
            units=units,
        )


def token_batches(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Rows of each batch: sorted by length, longest first, at most `batch_tokens` when padded.

        lengths 2 9 3 8, batch_tokens 18   ->   rows [1 3] (9 + 9), rows [2 0] (3 + 3)

    A text longer than the budget is a batch of its own. Longest first: memory peaks at once, and
    the threads end together on the small batches.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        rows = order[start : start + max(1, batch_tokens // longest)]
        batches.append(rows)
        start += len(rows)
    return batches


def padded(
    values: np.ndarray, offsets: np.ndarray, rows: np.ndarray, *, pad_token_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and mask of `rows`, right-padded to the longest: two (B, L) int64 arrays.

    Args:
        values, offsets: text i is `values[offsets[i]:offsets[i + 1]]`.
    """
    starts = offsets[rows]
    lengths = offsets[rows + 1] - starts
    columns = np.arange(int(lengths.max(initial=1)))
    real_BL = columns[None, :] < lengths[:, None]
    ids_BL = np.full(real_BL.shape, pad_token_id, dtype=np.int64)
    ids_BL[real_BL] = values[(starts[:, None] + columns[None, :])[real_BL]]
    return ids_BL, real_BL.astype(np.int64)
