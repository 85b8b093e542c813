"""Where a normalised character came from: answers are told in characters of the text as it came.

    given        e ´ t e ␣ ␣ ZWSP 北 京         10 characters: e, combining accent, t, e, spaces, …
    normalised   é t e ␣ 北 京                   what the model reads
    origins     [0,2) [2,3) [3,4) [4,6) [7,8) [8,9)

Normalising joins, splits, reorders and drops characters, and only the result is known from the
libraries that do it. So a text is cut where nothing can pass from one side to the other, and each
piece's characters are said to come from the whole piece: for composed letters the letter with its
marks, for a ligature the ligature, for a repaired wrong decoding the characters it was read from.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from tasks.serving.portable.base import INVISIBLE, is_spelling, normalize

# [start, end) in the given text, of each character
Origins = list[tuple[int, int]]

_LONGEST_REPAIR, _ALIKE = 24, 2  # characters


def normalize_with_origins(
    text: str, *, unicode_form: Any, repair_encoding: bool
) -> tuple[str, Origins]:
    """The normalised text (as `normalize`), and where each of its characters was in `text`."""
    normalised, origins = text, [(place, place + 1) for place in range(len(text))]
    plain = text.isascii() and text.isprintable()
    if repair_encoding and not plain:
        normalised, origins = _repaired(normalised, origins)
    if not plain:
        normalised, origins = _visible(normalised, origins)
        normalised, origins = _in_form(normalised, origins, unicode_form)
    normalised, origins = _single_spaces(normalised, origins)
    wanted = normalize(text, unicode_form=unicode_form, repair_encoding=repair_encoding)
    assert normalised == wanted, "a text normalised in pieces is the text normalised at once"
    return normalised, origins


def original_span(origins: Origins, start: int, end: int) -> tuple[int, int]:
    """[start, end) of the normalised text, not empty, in characters of the given text."""
    covered = origins[start:end]
    return min(first for first, _ in covered), max(last for _, last in covered)


def _repaired(text: str, origins: Origins) -> tuple[str, Origins]:
    from ftfy import fix_encoding

    repaired = fix_encoding(text)
    if repaired == text:
        return text, origins
    found: Origins = []
    place = 0
    while len(found) < len(repaired):
        new = len(found)
        if repaired[new] == text[place : place + 1]:
            found.append(origins[place])
            place += 1
            continue
        read, written = _until_alike(text[place:], repaired[new:])
        sizes = [len(character.encode()) for character in repaired[new : new + written]]
        if sum(sizes) != read:  # repaired twice, or by another rule: told as one piece
            sizes = []
            around = origins[place : place + read] or origins[max(0, place - 1) : place + 1]
            found += [(around[0][0], around[-1][1])] * written
        for size in sizes:  # each UTF-8 byte was read as one character
            found.append((origins[place][0], origins[place + size - 1][1]))
            place += size
        place += 0 if sizes else read
    return repaired, found


def _until_alike(text: str, repaired: str) -> tuple[int, int]:
    """How many characters of both to pass until they go on alike; all of them if they do not.

    A repair is local: a letter was read as up to some four to twelve others. A general comparison
    of two texts would cost the square of their length.
    """
    for passed in range(1, 2 * _LONGEST_REPAIR):
        for read in range(min(passed, _LONGEST_REPAIR), -1, -1):
            ahead = text[read : read + _ALIKE]
            if repaired[passed - read : passed - read + _ALIKE] == ahead and (
                ahead or passed - read >= len(repaired)
            ):
                return read, min(passed - read, len(repaired))
    return len(text), len(repaired)


def _visible(text: str, origins: Origins) -> tuple[str, Origins]:
    dropped = {found.start() for found in INVISIBLE.finditer(text) if not is_spelling(found)}
    kept = [place for place in range(len(text)) if place not in dropped]
    return "".join(text[place] for place in kept), [origins[place] for place in kept]


def _in_form(text: str, origins: Origins, form: Any) -> tuple[str, Origins]:
    if unicodedata.is_normalized(form, text):
        return text, origins
    # Pieces [start, end) whose normalised forms, one after the other, are that of the whole.
    pieces: list[tuple[int, int]] = []
    for place in range(len(text)):
        start = place
        while pieces and _reacts(text[slice(*pieces[-1])], text[start : place + 1], form):
            start = pieces.pop()[0]
        pieces.append((start, place + 1))
    normalised, found = [], []
    for start, end in pieces:
        new = unicodedata.normalize(form, text[start:end])
        normalised.append(new)
        found += [(origins[start][0], origins[end - 1][1])] * len(new)
    return "".join(normalised), found


def _reacts(before: str, after: str, form: Any) -> bool:
    """Whether two neighbouring pieces, normalised together, are not their forms in a row."""
    if after[0].isascii():
        return False  # composes with nothing before it
    if unicodedata.combining(unicodedata.normalize("NFKD", after[0])[0]):
        return True  # a mark may pass over other marks to its letter
    apart = unicodedata.normalize(form, before) + unicodedata.normalize(form, after)
    return unicodedata.normalize(form, before + after) != apart


def _single_spaces(text: str, origins: Origins) -> tuple[str, Origins]:
    characters, found = [], []
    gap: list[int] = []
    for place, character in enumerate(text):
        if character.isspace():
            gap.append(place)
            continue
        if gap and characters:
            characters.append(" ")
            found.append((origins[gap[0]][0], origins[gap[-1]][1]))
        gap = []
        characters.append(character)
        found.append(origins[place])
    return "".join(characters), found
