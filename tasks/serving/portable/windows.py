"""A long text in overlapping windows, and its units' logits made one again.

    body      t0 t1 t2 t3 t4 t5 t6 t7        room for 5 tokens, stride 3
    window 0  t0 t1 t2 t3 t4                 units whose first token lies in it, with their place
    window 1           t3 t4 t5 t6 t7        in the window's input_ids

Units are words, or characters of scripts without spaces (`segment`): what a model is asked about.
A text that fits is one window, so it is answered as in training.

Shapes: L length, C classes, U units.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException

from tasks.corpus.text.units import WORD_MARKS, Unit, segment, unit_positions
from tasks.serving.portable.base import positive


@dataclass(frozen=True)
class UnitText:
    """A text's units and tokens.

    Args:
        units: first character of each and the one after it, in `text`.
        input_ids: without special tokens.
        places: number of the first token of each unit, in order.
        text: normalised.
    """

    units: list[Unit]
    input_ids: list[int]
    places: list[int]
    text: str


@dataclass(frozen=True)
class Window:
    """A stretch of a text, as a network reads it.

    Args:
        row: which text.
        input_ids: with special tokens.
        first_unit: number of its first unit in the text.
        positions: place in input_ids of each of its units.
        margins: tokens between each unit and the nearer cut; infinite where nothing was cut.
    """

    row: int
    input_ids: list[int]
    first_unit: int
    positions: list[int]
    margins: list[float]


def unit_texts(tokenizer: Any, texts: list[str]) -> list[UnitText]:
    """Units and tokens of normalised texts."""
    found = (tokenizer.token_to_id(mark) for mark in WORD_MARKS)
    marks = frozenset(number for number in found if number is not None)
    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    read = []
    for text, encoding in zip(texts, encodings, strict=True):
        units, ids = segment(text), encoding.ids
        places = unit_positions(units, encoding.offsets, ids, word_marks=marks, max_tokens=len(ids))
        read.append(UnitText(units, ids, places, text))
    return read


def chosen_stride(params: dict[str, Any]) -> int | None:
    """The parameter `stride`: None, as in training, if it is 0 or absent."""
    return positive(params, "stride", 0) if params.get("stride") else None


def windows(
    row: int,
    text: UnitText,
    *,
    before: list[int],
    after: list[int],
    room: int,
    stride: int | None,
    usual: int = 0,
) -> Iterator[Window]:
    """The windows over a text, first to last.

    Args:
        before, after: tokens around the stretch in each window.
        room: tokens of the text that a window holds.
        stride: tokens from the start of a window to that of the next; None for the usual.
        usual: what it was in training, where that fits; 0 for half the room.
    Raises: MlflowException (HTTP 400) if windows would leave tokens out.
    """
    step = stride or min(usual or max(1, room // 2), room)
    if not 1 <= step <= room:
        raise MlflowException.invalid_parameter_value(
            f"stride is {step}: a window holds {room} tokens of the text, so tokens between "
            f"windows would be read by none; give 1 to {room}"
        )
    start = 0
    while True:
        end = min(start + room, len(text.input_ids))
        # Found by halving: a look at every unit for every window is the square of a text's length,
        # a minute for a million bytes of Chinese.
        inside = range(bisect_left(text.places, start), bisect_left(text.places, end))
        yield Window(
            row=row,
            input_ids=[*before, *text.input_ids[start:end], *after],
            first_unit=inside[0] if inside else 0,
            positions=[len(before) + text.places[unit] - start for unit in inside],
            margins=[
                min(
                    text.places[unit] - start if start else np.inf,
                    end - 1 - text.places[unit] if end < len(text.input_ids) else np.inf,
                )
                for unit in inside
            ],
        )
        if end == len(text.input_ids):
            return
        start += step
