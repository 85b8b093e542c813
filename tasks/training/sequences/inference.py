"""Rows of a tokens table → rows of teacher signals: texts written, one of them asked about.

    source ─► hypotheses (beam search) ─┐
    gold target ────────────────────────┴► the target text ─► its k likeliest tokens, each position

Shapes: B texts of a pass, L length, N target tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from data_contracts.tables import arrow_schema, load_contract
from tasks.modeling.encoder_decoder.config import DecodingConfig
from tasks.modeling.encoder_decoder.decoding import Hypothesis
from tasks.problems.seq2seq import Seq2SeqProblem
from tasks.runtime.machine.device import Precision
from tasks.runtime.progress import Progress
from tasks.training.batching.ragged import RaggedIds
from tasks.training.losses import IGNORE_INDEX
from tasks.training.sequences.generation import load_reader, source_batches, to_texts, write
from tasks.training.sequences.targets import Similarity, closest_hypothesis
from tasks.training.sequences.token_signals import ask_teacher, to_topk
from tasks.training.sequences.tokens import read_seq2seq_tokens
from tasks.training.sequences.topk_signals import TopKCodec


def ask_about_rows(
    teacher: PreTrainedModel,
    table: pa.Table,
    tokens: Path,
    *,
    targets: Literal["gold", "sequence", "interpolation"],
    writes_all: bool,
    similarity: Similarity,
    language: str,
    k: int,
    decoding: DecodingConfig,
    batch_texts: int,
    precision: Precision,
    progress: Progress,
) -> pa.Table:
    """Signals of the rows of a tokens table, in its order, under the signals' contract.

    Args:
        table: example_id, input_ids, target_ids (null where there is no gold text).
        tokens: the artifact that the table is part of: tokenizer and sizes.
        targets, similarity: which text is asked about; see `tasks.seq2seq_signals`.
        writes_all: whether the teacher writes texts even where none is needed as a target.
        precision: in which it is asked; it writes in fp32.
    """
    facts, reader = read_seq2seq_tokens(tokens), load_reader(tokens / "tokenizer")
    sources = RaggedIds.from_arrow(table["input_ids"])
    gold: list[list[int] | None] = table["target_ids"].to_pylist()
    hypotheses: list[list[Hypothesis]] = [[] for _ in gold]
    writing = [row for row, ids in enumerate(gold) if writes_all or targets != "gold" or not ids]
    if writing:
        written = write(
            teacher,
            _taken(sources, writing),
            decoding,
            pad_token_id=facts.pad_token_id,
            vocab_size=facts.vocab_size,
            batch_texts=batch_texts,
            progress=progress,
        )
        for row, found in zip(writing, written, strict=True):
            hypotheses[row] = found
    texts = [to_texts(reader, found) for found in hypotheses]
    target_ids, target_texts = [], []
    for ids, found, written_texts in zip(gold, hypotheses, texts, strict=True):
        gold_text = None if ids is None else reader.decode(ids)
        if gold_text is not None and targets == "gold":
            target_ids.append(ids)
            target_texts.append(gold_text)
            continue
        number = 0
        if gold_text is not None and targets == "interpolation":
            number = closest_hypothesis(
                written_texts, gold_text, similarity=similarity, language=language
            )
        target_ids.append(list(found[number].token_ids))
        target_texts.append(written_texts[number])
    codec = TopKCodec(facts.vocab_size, min(k, facts.vocab_size))
    packed = _opinions(
        teacher,
        sources,
        target_ids,
        codec,
        pad_token_id=facts.pad_token_id,
        batch_texts=batch_texts,
        precision=precision,
    )
    columns = {
        "example_id": table["example_id"],
        "target_text": target_texts,
        "target_ids": target_ids,
        "topk": packed,
        "hypotheses": texts,
        "hypothesis_scores": [[one.score for one in found] for found in hypotheses],
    }
    schema = arrow_schema(load_contract(Seq2SeqProblem.signals_contract))
    arrays = [pa.array(columns[f.name], f.type) if f.name != "example_id" else None for f in schema]
    return pa.table(
        [table["example_id"] if array is None else array for array in arrays], schema=schema
    )


def _opinions(
    teacher: PreTrainedModel,
    sources: RaggedIds,
    target_ids: Sequence[Sequence[int]],
    codec: TopKCodec,
    *,
    pad_token_id: int,
    batch_texts: int,
    precision: Precision,
) -> list[bytes]:
    """The packed signals of each row's target tokens."""
    device = next(teacher.parameters()).device
    packed = [b""] * len(sources)
    for rows, ids_BL, mask_BL in source_batches(sources, batch_texts, pad_token_id):
        lengths = [len(target_ids[row]) for row in rows]
        labels_BL = np.full((len(rows), max(lengths)), IGNORE_INDEX, dtype=np.int64)
        for place, row in enumerate(rows):
            labels_BL[place, : lengths[place]] = target_ids[row]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            found = ask_teacher(
                teacher,
                ids_BL.to(device),
                mask_BL.to(device),
                torch.from_numpy(labels_BL).to(device),
                k=codec.k,
                vocab_size=codec.vocab_size,
            )
        encoded = codec.encode(to_topk(found))
        start = 0
        for row, length in zip(rows, lengths, strict=True):
            packed[row] = encoded[start : start + length].tobytes()
            start += length
    return packed


def _taken(sources: RaggedIds, rows: Sequence[int]) -> RaggedIds:
    if len(rows) == len(sources):
        return sources
    parts = [sources.values[sources.offsets[row] : sources.offsets[row + 1]] for row in rows]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return RaggedIds(np.concatenate(parts), offsets)
