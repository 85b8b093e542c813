"""The forms of encoder models that are timed: teacher, safetensors student, int8 student."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from tasks.comparison.material import Material, Reader
from tasks.metrics.answering import Answerer, onnx_answerer, torch_answerer

INT8_FILE = "model.int8.onnx"


def encoder_answerers(
    material: Material,
    load: Callable[[Path], nn.Module],
    *,
    num_threads: int,
    longest_second: bool = False,
) -> dict[str, Answerer]:
    """From text through the tokenizer to logits, by form; int8 where the export has it.

    Args:
        load: the network in a model folder, which maps (B, L) ids and mask to logits.
        num_threads: of onnxruntime's own pool.
        longest_second: of pairs that are too long only the second text is cut (a context).
    """
    exported = material.path("export") / "model"
    teacher, student = (
        {**_reading(material, reader), "longest_second": longest_second}
        for reader in ("teacher", "student")
    )
    answerers = {
        "teacher": torch_answerer(load(material.path("teacher") / "model"), **teacher),
        "safetensors": torch_answerer(load(exported), **student),
    }
    if (exported / INT8_FILE).is_file():
        answerers["onnx_int8"] = onnx_answerer(
            exported / INT8_FILE, **student, num_threads=num_threads
        )
    return answerers


def _reading(material: Material, reader: Reader) -> dict:
    facts = material.token_facts(reader)
    return {
        "tokenizer_file": material.path(f"{reader}_tokens") / "tokenizer" / "tokenizer.json",
        "pad_token_id": facts["pad_token_id"],
        "max_length_tokens": facts["max_length_tokens"],
    }
