"""Normalise a text whose characters somebody points at: the places move along with the letters.

The text comes out as normalising it at once gives it, wherever the places are. What is invisible is
taken out first, in view of the whole text: a joiner stays for the letter before it, which may be
outside a place. Then the stretches between all bounds are brought into one form one by one, and
what they came to is joined. Where white space was at a joint there is one space; no place begins or
ends with it, or begins with a joiner, which belongs to the letter before:

    "Tel  Aviv ,", bounds 0 9 10    "Tel Aviv" (0, 8)   "," (9, 10)

Only wrong decodings are repaired stretch by stretch: ftfy does not say what moved where.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

from tasks.corpus.rows.kind import RowRules, UnfitError
from tasks.corpus.text.normalization import normalize, without_invisible

Place = tuple[int, int]
"""First character and the one after the last."""

_NO_BEGINNING = " \u200c\u200d"  # a space, ZWNJ, ZWJ


def normalize_with_places(
    text: str, places: Iterable[Place], rules: RowRules, counts: Counter[str]
) -> tuple[str, list[Place]]:
    """`text` in the corpus's form, and `places` in it; an invisible place becomes an empty one.

    Args:
        places: inside `text`, not empty; they may overlap.
        counts: takes the removed characters by kind.

    Raises: UnfitError if a place ends inside what becomes one character.
    """
    config, places = rules.normalization, list(places)
    if config.repair_encoding:
        text, places = _repaired(text, places)
    seen, gone = without_invisible(text)
    counts.update(gone.values())
    hidden = list(gone)  # a place moves by as many as there are before it
    places = [
        (start - bisect_left(hidden, start), end - bisect_left(hidden, end))
        for start, end in places
    ]
    whole, space = "", False
    starts: dict[int, int] = {}
    ends: dict[int, int] = {0: 0}
    for start, end in pairwise(_bounds(seen, places)):
        # Spaces are looked for after: NFKC makes some, of an accent that stands alone.
        piece = unicodedata.normalize(config.unicode_form, seen[start:end])
        cleaned = " ".join(piece.split())
        space |= piece[0].isspace()
        if cleaned and space and whole:
            whole += " "
        starts[start] = len(whole)
        whole += cleaned
        ends[end] = len(whole)
        if cleaned:
            space = False
        space |= piece[-1].isspace()
    starts[len(seen)] = len(whole)
    if normalize(text, config)[0] != whole:
        raise UnfitError("span_splits_character", "a span ends inside what is one character")
    return whole, [_tight(whole, starts[start], ends[end]) for start, end in places]


def _bounds(text: str, places: Iterable[Place]) -> list[int]:
    return sorted({0, len(text), *chain.from_iterable(places)})


def _repaired(text: str, places: Sequence[Place]) -> tuple[str, list[Place]]:
    """`text` with wrong decodings undone in each stretch between bounds, and the places in it."""
    from ftfy import fix_encoding

    repaired, moved = "", {0: 0}
    for start, end in pairwise(_bounds(text, places)):
        repaired += fix_encoding(text[start:end])
        moved[end] = len(repaired)
    return repaired, [(moved[start], moved[end]) for start, end in places]


def _tight(text: str, start: int, end: int) -> Place:
    while start < end and text[start] in _NO_BEGINNING:
        start += 1
    while end > start and text[end - 1] == " ":
        end -= 1
    return start, max(start, end)
