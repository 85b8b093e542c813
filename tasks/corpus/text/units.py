"""Units: the words of a text, or its characters where no spaces are written, whoever reads it.

Teacher and student cut a text into tokens in two ways, so what one says of a token tells the other
nothing. Both are asked about units, which depend on the text alone:

    "In 北京 liegt Müllers Café."   In | 北 | 京 | liegt | Müllers | Café | .

A Han, Hiragana, Katakana, Thai, Lao, Khmer or Burmese character is a unit; so is a run of other
letters, marks and digits; so is every other character but white space. Spans and units are
characters (code points), the end exclusive. Nothing but the standard library is imported: a
delivered model may carry this file along.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from functools import cache

Unit = tuple[int, int]
"""First character of a unit and the one after it."""

OUTSIDE = "O"
_SPACE, _ALONE, _RUN = range(3)
# Zero-width joiners stand inside words of Persian and Indic scripts.
_JOINERS = "\u200c\u200d"
WORD_MARKS = ("▁", "Ġ")
"""Tokens that say no more than that a word begins."""

# Scripts written without spaces between words (Unicode 15 blocks; unassigned places do no harm).
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x19E0, 0x19FF),
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3038, 0x303B),
    (0x3041, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x1B000, 0x1B16F),
    (0x20000, 0x3FFFF),
)


def segment(text: str) -> list[Unit]:
    """The units of `text`, in order; together they are all its characters but white space."""
    units: list[Unit] = []
    start = -1
    for place, character in enumerate(text):
        kind = _kind(character)
        if kind == _RUN:
            if start < 0:
                start = place
            continue
        if start >= 0:
            units.append((start, place))
            start = -1
        if kind == _ALONE:
            units.append((place, place + 1))
    if start >= 0:
        units.append((start, len(text)))
    return units


def is_unspaced(character: str) -> bool:
    """Whether the character's script puts no space between words."""
    code = ord(character)
    return any(first <= code <= last for first, last in _UNSPACED)


@cache
def _kind(character: str) -> int:
    if character.isspace():
        return _SPACE
    if is_unspaced(character):
        return _ALONE
    if character in _JOINERS or unicodedata.category(character)[0] in "LMN":
        return _RUN
    return _ALONE


def units_inside(units: Sequence[Unit], start: int, end: int) -> list[int]:
    """Numbers of the units of which at least a character lies in [start, end)."""
    return [number for number, unit in enumerate(units) if unit[0] < end and unit[1] > start]


def align_spans(units: Sequence[Unit], spans: Sequence[tuple[int, int, str]]) -> list[str]:
    """The IOB2 tag of each unit: O, or B- or I- and the span's label.

    A unit that overlaps a span belongs to it, whole; of two spans within one unit, to the first:

        units 北 京 大 学, span (0, 2, LOC)                  ->  B-LOC I-LOC O O
        units Köln - Deutz, span (0, 6, LOC) up to the D    ->  B-LOC I-LOC I-LOC

    Args:
        units: in order.
        spans: start, end, label; sorted, not overlapping.
    """
    tags = [OUTSIDE] * len(units)
    place = 0
    for start, end, label in spans:
        while place < len(units) and units[place][1] <= start:
            place += 1
        prefix = "B-"
        while place < len(units) and units[place][0] < end:
            tags[place] = prefix + label
            prefix = "I-"
            place += 1
    return tags


def unit_positions(
    units: Sequence[Unit],
    offsets: Sequence[tuple[int, int]],
    input_ids: Sequence[int],
    *,
    word_marks: Collection[int] = (),
    max_tokens: int,
) -> list[int]:
    """The number of the first token of each unit; units from the first one cut off are left out.

    A token that is nothing but the mark of a word's beginning is passed over if the next one covers
    the unit too. A unit without a token of its own (its characters were joined with those before
    it, or dropped by the tokenizer) has the token that covers it, or the one before it:

        units 北 京 大, tokens ▁ (0, 1), 北京 (0, 2), 大 (2, 3)   ->   1 1 2

    Args:
        units: of the text, in order.
        offsets: characters of the text that each token covers, special tokens left out.
        input_ids: of these tokens.
        word_marks: ids of `WORD_MARKS`.
        max_tokens: tokens that are kept, from the first.
    """
    positions: list[int] = []
    place = 0
    for start, end in units:
        # Tokens are in order: those that end before this unit are behind all later ones too.
        while place < len(offsets) and offsets[place][1] <= start:
            place += 1
        found = place
        while found < len(offsets) and (
            offsets[found][1] <= start or offsets[found][0] == offsets[found][1]
        ):
            found += 1
        following = found + 1
        if (
            following < len(offsets)
            and input_ids[found] in word_marks
            and offsets[following][0] < end
            and offsets[following][1] > start
        ):
            found = following
        if found >= len(offsets) or offsets[found][0] >= end:
            found = max(min(found, len(offsets)) - 1, 0)
        if found >= max_tokens or not offsets:
            break
        positions.append(found)
    return positions
