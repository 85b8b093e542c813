"""Normalise a text whose characters somebody points at: the places move along with the letters.

Normalising may shorten a text, so the stretches between all bounds are normalised one by one, and
what they came to is joined. Where white space was at a joint there is one space; no place begins or
ends with it:

    "Tel  Aviv ,", bounds 0 9 10    "Tel Aviv" (0, 8)   "," (9, 10)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from tasks.corpus.normalization import normalize
from tasks.corpus.rows.kind import RowRules, UnfitError, normalized

Place = tuple[int, int]
"""First character and the one after the last."""


def normalize_with_places(
    text: str, places: Iterable[Place], rules: RowRules, counts: Counter[str]
) -> tuple[str, list[Place]]:
    """`text` in the corpus's form, and `places` in it; an invisible place becomes an empty one.

    Args:
        places: inside `text`, not empty; they may overlap.
        counts: takes the removed characters by kind.

    Raises: UnfitError if a place ends inside what becomes one character.
    """
    places = list(places)
    bounds = sorted({0, len(text), *(bound for place in places for bound in place)})
    whole, space = "", False
    starts: dict[int, int] = {}
    ends: dict[int, int] = {0: 0}
    for start, end in pairwise(bounds):
        piece = text[start:end]
        cleaned = normalized(piece, rules, counts)
        space |= piece[0].isspace()
        if cleaned and space and whole:
            whole += " "
        starts[start] = len(whole)
        whole += cleaned
        ends[end] = len(whole)
        if cleaned:
            space = False
        space |= piece[-1].isspace()
    if normalize(whole, rules.normalization)[0] != whole:
        raise UnfitError("span_splits_character", "a span ends inside what is one character")
    return whole, [_tight(whole, starts[start], ends[end]) for start, end in places]


def _tight(text: str, start: int, end: int) -> Place:
    while start < end and text[start] == " ":
        start += 1
    while end > start and text[end - 1] == " ":
        end -= 1
    return start, max(start, end)
