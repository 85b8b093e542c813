"""The forms of encoder models that are timed: teacher, safetensors student, int8 student."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from torch import nn

from tasks.comparison.material import Material, Reader
from tasks.comparison.timing.inference import Answerer, onnx_answerer, onnx_network, torch_answerer
from tasks.modeling.heads.units import Units

INT8_FILE = "model.int8.onnx"


def encoder_answerers(
    material: Material,
    load: Callable[[Path], nn.Module],
    *,
    num_threads: int,
    asks_questions: bool = False,
) -> dict[str, Answerer]:
    """From text through the tokenizer to logits, by form; int8 where the export has it.

    Args:
        load: the network in a model folder, which maps (B, L) ids and mask to logits.
        num_threads: of onnxruntime's own pool.
        asks_questions: pairs are a question, cut at its own limit, and a context, cut at what fits
            beside it.
    """
    exported = material.path("export") / "model"
    teacher, student = (
        _reading(material, reader, asks_questions=asks_questions)
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


def int8_logits(
    material: Material,
    rows: pa.Table,
    units: Units | None,
    *,
    batch_size: int,
    num_threads: int,
) -> np.ndarray:
    """Logits (A, C) of the int8 form for rows of the student's tokens, fp32.

    Args:
        units: what is read out of each row; None: each row is one answer.
        batch_size: rows a call, padded to the longest of them.
    """
    run = onnx_network(material.path("export") / "model" / INT8_FILE, num_threads=num_threads)
    padding = material.token_facts("student")["pad_token_id"]
    column = rows["input_ids"].combine_chunks()
    found = []
    for start in range(0, len(rows), batch_size):
        texts = [text.values.to_numpy() for text in column[start : start + batch_size]]
        longest = max(len(text) for text in texts)
        input_ids = np.full((len(texts), longest), padding, dtype=np.int64)
        attention_mask = np.zeros_like(input_ids)
        for row, text in enumerate(texts):
            input_ids[row, : len(text)], attention_mask[row, : len(text)] = text, 1
        logits = run(input_ids, attention_mask)
        if units is None:
            found.append(logits)
            continue
        places = np.arange(start, start + len(texts))
        of_row = np.repeat(np.arange(len(texts)), units.counts(places))
        found.append(logits[of_row, units.positions[units.of(places)]])
    return np.concatenate(found)


def _reading(material: Material, reader: Reader, *, asks_questions: bool) -> dict:
    facts = material.token_facts(reader)
    longest = facts.get("max_question_tokens") or facts["max_length_tokens"] // 2
    return {
        "tokenizer_file": material.path(f"{reader}_tokens") / "tokenizer" / "tokenizer.json",
        "pad_token_id": facts["pad_token_id"],
        "max_length_tokens": facts["max_length_tokens"],
        "max_question_tokens": longest if asks_questions else None,
    }
