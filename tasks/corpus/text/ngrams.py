"""Character n-grams of many texts at once, as numbers: what near-duplicates are judged by.

    "Turn on the TV!"  folded   turn on the tv        NFKC, no case, signs as one space
                       grams    tur urn rn· n·o ...   3 letters, or 2 characters where most are
                                                      Han, Kana or Hangul

A gram is its code points packed into 63 bits, so equal numbers are equal grams. Folding, cutting
and counting run over the code points of a whole batch: a Python step a text costs 40 µs, this 3.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

_SEPARATOR, _IDEOGRAPH = 1, 2
_NEWLINE, _SPACE = 0x0A, 0x20
_BITS = 21  # of a code point


@dataclass(frozen=True)
class Grams:
    """The set of grams of each text, in CSR form.

    Args:
        values: uint64, (distinct grams of all texts,), sorted.
        numbers: int64, (grams,): positions in `values`, ascending within a text.
        offsets: int64, (texts + 1,): text i has `numbers[offsets[i]:offsets[i + 1]]`.
    """

    values: np.ndarray
    numbers: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> np.ndarray:
        """Distinct grams of each text, int64, (texts,); never 0."""
        return np.diff(self.offsets)


def grams_of(texts: Sequence[str]) -> Grams:
    """The grams of each text; a text of punctuation only keeps its punctuation."""
    points, starts, lengths, ideographs = _folded(texts)
    sizes = np.where(2 * ideographs >= lengths, 2, 3)
    counts = np.maximum(lengths - sizes + 1, 1)  # a short text is its own gram
    rows = np.repeat(np.arange(len(texts)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = starts[rows] + within
    packed = points[at] << np.uint64(2 * _BITS)
    left = lengths[rows] - within
    packed |= np.where(left > 1, points[at + 1], 0) << np.uint64(_BITS)
    packed |= np.where((left > 2) & (sizes[rows] == 3), points[at + 2], 0)
    values, numbers = np.unique(packed, return_inverse=True)
    pairs = _distinct((rows.astype(np.uint64) << np.uint64(32)) | numbers.astype(np.uint64))
    sizes = np.bincount((pairs >> np.uint64(32)).astype(np.int64), minlength=len(texts))
    return Grams(
        values,
        (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
    )


def _distinct(values: np.ndarray) -> np.ndarray:
    """`values` sorted, without copies (np.unique would hash first, which is slower here)."""
    values = np.sort(values)
    keep = np.ones(len(values), dtype=bool)
    keep[1:] = values[1:] != values[:-1]
    return values[keep]


def _folded(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Folded code points (uint64) of all texts; start, length and ideographs of each (int64)."""
    joined = "\n".join(texts)
    if joined.count("\n") != len(texts) - 1:
        joined = "\n".join(text.replace("\n", " ") for text in texts)
    # Nothing composes or folds across a line end, so one call does what one a text would.
    folded = unicodedata.normalize("NFKC", joined).casefold()
    points = np.frombuffer(f"{folded}\n".encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds()[points]
    ends = points == _NEWLINE
    blank = ((kinds & _SEPARATOR) != 0) & ~ends
    after_gap = np.concatenate([[True], (blank | ends)[:-1]])
    first = ~(blank & after_gap)  # the first of a run of separators stays, as a space
    kept, blank, ends, kinds = points[first], blank[first], ends[first], kinds[first]
    inner = ~(blank & np.concatenate([ends[1:], [True]]))  # but not at the end of a text
    kept = np.where(blank, _SPACE, kept)[inner].astype(np.uint64)
    ideographs = ((kinds & _IDEOGRAPH) != 0) & ~blank
    stops, sums = np.flatnonzero(ends[inner]), np.cumsum(ideographs[inner])
    starts = np.concatenate([[0], stops[:-1] + 1]).astype(np.int64)
    lengths = stops - starts
    found = np.diff(np.concatenate([[0], sums[stops]]))
    empty = np.flatnonzero(lengths == 0)
    if len(empty):  # only separators: then they are the text
        lines = folded.split("\n")
        tails = [np.array([ord(sign) for sign in lines[row]], np.uint64) for row in empty]
        lengths[empty] = [len(tail) for tail in tails]
        found[empty] = [int(((_kinds()[tail] & _IDEOGRAPH) != 0).sum()) for tail in tails]
        starts[empty] = len(kept) + np.cumsum(lengths[empty]) - lengths[empty]
        kept = np.concatenate([kept, *tails])
    return np.concatenate([kept, np.zeros(3, np.uint64)]), starts, lengths, found


@cache
def _kinds() -> np.ndarray:
    """Flags of every code point, uint8, (0x110000,); made once, in about 0.1 s."""
    import regex

    every = "".join(map(chr, range(sys.maxunicode + 1)))
    kinds = np.zeros(sys.maxunicode + 1, np.uint8)
    for pattern, flag in (
        (r"[\p{P}\p{S}\p{Z}\p{C}]+", _SEPARATOR),
        (r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]+", _IDEOGRAPH),
    ):
        for match in regex.finditer(pattern, every):
            kinds[match.start() : match.end()] |= flag
    return kinds
