"""Texts -> token ids with the place of each unit: for problems that ask about units of a text.

Slower than `encoding` (the library reports the characters of each token, and units are found in
Python: about 25,000 short texts a second and core), so only problems that need places come here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from tasks.corpus.rows.kind import Reading, Tokenized
from tasks.corpus.text.units import WORD_MARKS, Unit, segment, unit_positions
from tasks.corpus.tokenizers.encoding import readable_text, special_frame
from tasks.corpus.tokenizers.tokenizer import unknown_id

pc: Any = pyarrow.compute

_CHUNK_ROWS = 1024
UnitLabels = Callable[[dict[str, Any], Sequence[Unit], dict[str, int]], list[int]]
"""Label numbers of a row's units."""


def encode_units(rows: pa.Table, reading: Reading, unit_labels: UnitLabels) -> Tokenized:
    """The columns of `tokens_token_classification` for the rows that the reader can read.

    Args:
        unit_labels: called with a row, all its units and the numbers of labels.
    """
    texts, languages = readable_text(rows, reading.languages)
    read = pc.is_valid(texts)
    texts, languages = texts.filter(read), languages.filter(read)
    rows = rows.filter(read)
    prefix, suffix = special_frame(reading.tokenizer)
    num_special = len(prefix) + len(suffix)
    max_tokens = reading.max_length_tokens - num_special
    marks, unknown = word_marks(reading.tokenizer), unknown_id(reading.tokenizer)
    label_numbers = {label: number for number, label in enumerate(reading.labels)}
    ids: list[list[int]] = []
    positions: list[list[int]] = []
    labels: list[list[int]] = []
    lengths: list[int] = []
    for start in range(0, len(texts), _CHUNK_ROWS):
        chunk = texts.slice(start, _CHUNK_ROWS).to_pylist()
        encodings = reading.tokenizer.encode_batch(chunk, add_special_tokens=False)
        records = rows.slice(start, _CHUNK_ROWS).to_pylist()
        for text, row, encoding in zip(chunk, records, encodings, strict=True):
            units = segment(text)
            body = encoding.ids
            places = unit_positions(
                units, encoding.offsets, body, word_marks=marks, max_tokens=max_tokens
            )
            ids.append([*prefix, *body[:max_tokens], *suffix])
            positions.append([place + len(prefix) for place in places])
            labels.append(unit_labels(row, units, label_numbers)[: len(places)])
            lengths.append(len(body) + num_special)
    return Tokenized(
        {
            "example_id": rows["example_id"],
            "input_ids": ids,
            "label": [-1] * len(ids),
            "language": languages,
            "unit_positions": positions,
            "unit_labels": labels,
        },
        texts=texts,
        lengths=np.array(lengths, np.int64),
        num_truncated=sum(length > reading.max_length_tokens for length in lengths),
        num_special=num_special,
        num_unknown=sum(body.count(unknown) for body in ids) if unknown is not None else 0,
    )


def word_marks(tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that only mark the beginning of a word."""
    found = (tokenizer.token_to_id(mark) for mark in WORD_MARKS)
    return frozenset(number for number in found if number is not None)
