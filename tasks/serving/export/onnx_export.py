"""A network as an ONNX graph: bytes that depend on the weights only.

    network ── trace ──► fp32 graph ── quantization.py ──► int8 graph, 1/4 to 1/2 of the size

The TorchScript tracer is used, not the newer `dynamo` exporter: for a student of 1.2M parameters it
takes 0.3 s instead of 6 to 7, and writes no source paths into the graph (torch 2.13). What
tracing can get wrong, a value frozen at the traced shape, is what the export stage's parity check
looks for: other batch sizes, lengths and paddings than the traced ones.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from transformers import PreTrainedModel

from tasks.modeling.heads.units import Units

INPUT_NAMES = ("input_ids", "attention_mask")
OUTPUT_NAME = "logits"
_OPSET = 17  # the first with LayerNormalization as one operator
# Traced on two texts of different length, so that neither axis and no padding is a special case.
_TRACED_LENGTHS = (7, 4)


def export_onnx(model: nn.Module) -> onnx.ModelProto:
    """The fp32 graph of `model`: int64 `input_ids` and `attention_mask`, each (batch, length) with
    both axes free, to float32 `logits`: (batch, classes), or (batch, length, classes) of a head on
    tokens. Deterministic, without names of this machine.

    Args:
        model: maps (ids, mask) to logits, on the CPU. Its Hugging Face encoders are switched to
            plain ("eager") attention while tracing, then back.
    """
    longest = max(_TRACED_LENGTHS)
    input_ids = torch.ones((len(_TRACED_LENGTHS), longest), dtype=torch.int64)
    lengths = torch.tensor(_TRACED_LENGTHS).unsqueeze(1)
    attention_mask = (torch.arange(longest) < lengths).to(torch.int64)
    axes = {0: "batch", 1: "length"}
    was_training = model.training
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), _eager(model):
        warnings.simplefilter("ignore")  # deprecation and tracer notes; parity is checked instead
        path = Path(folder) / "model.onnx"
        model.eval()
        with torch.inference_mode():
            reads_tokens = model(input_ids, attention_mask).ndim == 3
        try:
            torch.onnx.export(
                model,
                (input_ids, attention_mask),
                str(path),
                dynamo=False,
                opset_version=_OPSET,
                input_names=list(INPUT_NAMES),
                output_names=[OUTPUT_NAME],
                dynamic_axes={
                    **dict.fromkeys(INPUT_NAMES, axes),
                    OUTPUT_NAME: axes if reads_tokens else {0: "batch"},
                },
            )
        finally:
            model.train(was_training)
        return anonymous(onnx.load(path))


def predict_onnx(
    graph: onnx.ModelProto | Path,
    input_ids: Sequence[np.ndarray],
    *,
    pad_token_id: int,
    units: Units | None = None,
    batch_size: int = 32,
) -> np.ndarray:
    """Logits of each text, or of each unit, in the order given: float32, (answers, classes).

    Args:
        graph: a graph, or a file that holds one.
        input_ids: token ids of each text, in the order wanted.
        units: what is read out of each text, for a graph with logits of tokens.
        batch_size: texts a pass, padded to their longest.
    """
    source = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    logits = []
    num_read = 0
    for feed in padded_batches(input_ids, pad_token_id=pad_token_id, batch_size=batch_size):
        found = np.asarray(session.run([OUTPUT_NAME], feed)[0])
        if units is None:
            logits.append(found)
        else:
            logits += [
                of_tokens[units.positions[units.of(np.array([num_read + row]))]]
                for row, of_tokens in enumerate(found)
            ]
        num_read += len(found)
    return np.concatenate(logits)


def padded_batches(
    input_ids: Sequence[np.ndarray], *, pad_token_id: int, batch_size: int = 32
) -> Iterator[dict[str, np.ndarray]]:
    """What a graph reads of texts, pass by pass, in the order given: int64, (batch, length)."""
    for start in range(0, len(input_ids), batch_size):
        texts = input_ids[start : start + batch_size]
        ids = np.full((len(texts), max(map(len, texts))), pad_token_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        yield dict(zip(INPUT_NAMES, (ids, mask), strict=True))


def write_onnx(graph: onnx.ModelProto, path: Path) -> None:
    """Write `graph` to `path`; equal graphs give equal bytes."""
    path.write_bytes(graph.SerializeToString(deterministic=True))


def anonymous(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what tells of the writer and not of the network."""
    for field in ("producer_name", "producer_version", "doc_string", "domain"):
        graph.ClearField(field)
    graph.ClearField("metadata_props")
    for node in graph.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    return graph


@contextmanager
def _eager(model: nn.Module) -> Iterator[None]:
    """Plain attention in every Hugging Face encoder: the others trace into longer graphs."""
    encoders = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    before = [encoder.config._attn_implementation for encoder in encoders]
    for encoder in encoders:
        encoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        for encoder, implementation in zip(encoders, before, strict=True):
            encoder.set_attn_implementation(implementation or "eager")
