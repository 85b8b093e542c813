"""Questions and contexts -> token ids of windows, and the units of the context in each.

    question q, context of tokens 0 … 9, room for 4 beside q, stride 2
    window 0   <s> q </s></s> 0 1 2 3 </s>
    window 1   <s> q </s></s> 2 3 4 5 </s>    ... until the context's last token is in one

A window has the units whose first token it holds. Where the answer lies is said of the whole
context, in every window of it: whether a window holds it is the reader's to see. Beside a question
so long that a window holds fewer tokens than the stride, windows touch. Deployed models cut windows
by the same rule (`tasks/serving/portable/windows.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.errors import SourceError
from tasks.corpus.rows.kind import Reading, Tokenized, question_limit
from tasks.corpus.text.units import Unit, segment, unit_positions, units_inside
from tasks.corpus.tokenizers.encoding import readable_text
from tasks.corpus.tokenizers.tokenizer import unknown_id
from tasks.corpus.tokens.pair_encoding import pair_frame
from tasks.corpus.tokens.unit_encoding import word_marks

pc: Any = pyarrow.compute

UNLABELLED, NO_ANSWER = -1, -2
_CHUNK_ROWS = 512


def encode_windows(rows: pa.Table, reading: Reading) -> Tokenized:
    """The columns of `tokens_question_answering` for the rows that the reader can read.

    Raises: SourceError if a question leaves no room, or no window could hold the stride.
    """
    contexts, languages = readable_text(rows, reading.languages)
    read = pc.is_valid(contexts)
    contexts, languages = contexts.filter(read), languages.filter(read)
    rows = rows.filter(read)
    frame = pair_frame(reading.tokenizer)
    _check_stride(reading, frame.num_special)
    longest = question_limit(reading)
    marks, unknown = word_marks(reading.tokenizer), unknown_id(reading.tokenizer)
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    lengths: list[int] = []
    num_cut = 0
    for start in range(0, len(contexts), _CHUNK_ROWS):
        texts = contexts.slice(start, _CHUNK_ROWS).to_pylist()
        tags = languages.slice(start, _CHUNK_ROWS).to_pylist()
        records = rows.slice(start, _CHUNK_ROWS).to_pylist()
        # Several questions are asked of one context: it is encoded once.
        known = _contexts(reading.tokenizer, list(dict.fromkeys(texts)), marks)
        questions = reading.tokenizer.encode_batch_fast(
            [row["question"] for row in records], add_special_tokens=False
        )
        for text, tag, row, encoding in zip(texts, tags, records, questions, strict=True):
            body, units, places = known[text]
            question = encoding.ids[:longest]
            num_cut += len(question) < len(encoding.ids)
            lengths.append(len(body) + len(encoding.ids) + frame.num_special)
            room = reading.max_length_tokens - frame.num_special - len(question)
            stride = _stride(room, reading)
            before = [*frame.before, *question, *frame.between]
            first, last = _answer_units(row, units)
            for window, (at, end) in enumerate(_windows(len(body), room, stride)):
                inside = [unit for unit, place in enumerate(places) if at <= place < end]
                found = (
                    row["example_id"], [*before, *body[at:end], *frame.after], -1, tag, window,
                    inside[0] if inside else 0,
                    [len(before) + places[unit] - at for unit in inside], first, last, len(units),
                )  # fmt: skip
                for name, value in zip(_COLUMNS, found, strict=True):
                    columns[name].append(value)
    ids = columns["input_ids"]
    return Tokenized(
        dict(columns),
        texts=pc.binary_join_element_wise(rows["question"].combine_chunks(), contexts, " "),
        lengths=np.array(lengths, np.int64),
        num_truncated=num_cut,
        num_special=frame.num_special,
        num_unknown=sum(body.count(unknown) for body in ids) if unknown is not None else 0,
        num_windows=len(ids),
    )


_COLUMNS = (
    "example_id", "input_ids", "label", "language", "window", "first_unit", "unit_positions",
    "start_unit", "end_unit", "num_units",
)  # fmt: skip


def _contexts(
    tokenizer: Any, texts: Sequence[str], marks: frozenset[int]
) -> dict[str, tuple[list[int], list[Unit], list[int]]]:
    """Token ids, units and the first token of each unit of each text."""
    found: dict[str, tuple[list[int], list[Unit], list[int]]] = {}
    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    for text, encoding in zip(texts, encodings, strict=True):
        units, body = segment(text), encoding.ids
        places = unit_positions(
            units, encoding.offsets, body, word_marks=marks, max_tokens=len(body)
        )
        found[text] = body, units, places
    return found


def _check_stride(reading: Reading, num_special: int) -> None:
    """Refuse a stride that no window could hold, however short its question."""
    stride, longest = reading.window_stride_tokens, reading.max_length_tokens - num_special
    if stride is not None and stride > longest:
        raise SourceError(
            f"window_stride_tokens is {stride}, a window holds {longest} tokens of question and "
            "context",
            rule="windows overlap or touch: no token may lie between two of them",
            remedy=f"set window_stride_tokens to less than {longest}, or raise max_length_tokens",
        )


def _stride(room: int, reading: Reading) -> int:
    """Tokens from the beginning of a window to that of the next, `room` at most."""
    if room < 1:
        raise SourceError(
            f"a question takes all of max_length_tokens = {reading.max_length_tokens}",
            rule="at least one token of the context must fit beside a question",
            remedy="raise max_length_tokens, or set max_question_tokens lower",
        )
    return min(reading.window_stride_tokens or max(1, room // 2), room)


def _windows(num_tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """First token of each window and the one after its last."""
    starts = [0]
    while starts[-1] + room < num_tokens:
        starts.append(starts[-1] + stride)
    return [(start, min(start + room, num_tokens)) for start in starts]


def _answer_units(row: dict[str, Any], units: Sequence[Unit]) -> tuple[int, int]:
    """First and last unit of the row's first answer."""
    if row["answer_starts"] is None:
        return UNLABELLED, UNLABELLED
    if not row["answer_starts"]:
        return NO_ANSWER, NO_ANSWER
    start = row["answer_starts"][0]
    end = start + len(row["answer_texts"][0])
    inside = units_inside(units, start, end)
    return inside[0], inside[-1]
