"""Rules that look at pairs of rows: copies, contradictions, and leaks into the evaluation.

Equal texts are found by a 64-bit hash of language and text (at ten million rows two different texts
share one with probability 3e-6). Near copies, each row against all earlier ones, are found in two
steps: MinHash bands propose pairs (`rensa`), and the exact Jaccard similarity of their character
n-grams decides. The bands are chosen so that a pair at the threshold is proposed with a probability
of at least 0.9999. Rows of two texts are alike if both texts together are and the second alone is:
most n-grams are a paragraph's, beside which all of its questions would be one. Leaks, each row
against the few evaluation rows, are in `similarity`.

References: Broder 1997, On the resemblance and containment of documents; Leskovec, Rajaraman,
Ullman, Mining of Massive Datasets, section 3.4 (banding).
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from pydantic import Field

from data_contracts.artifacts import Frozen

_NUM_PERMUTATIONS = 128
_MINHASH_SEED = 1
_MIN_RECALL = 0.9999

_RowShingles = tuple[frozenset[str], frozenset[str] | None]
"""Of all that a row is compared by, and of its second text, if it has one."""


class DeduplicationConfig(Frozen):
    """Which rows are copies of each other, and which would leak evaluation texts into training."""

    near_duplicate_threshold: float | None = Field(
        default=None,
        gt=0.5,
        le=1,
        description="drop rows of one role whose character n-grams overlap with an earlier row's "
        "by at least this Jaccard similarity, and those of its second text (a translation, a "
        "question) too; not set: only exact copies are dropped",
    )
    leak_threshold: float | None = Field(
        default=0.9,
        gt=0.5,
        le=1,
        description="set aside train and transfer rows this similar (Jaccard of character n-grams) "
        "to a validation or test text; null: only exact copies count as leaks",
    )


def copies(keys: np.ndarray) -> np.ndarray:
    """Mask of the rows whose key (any integers, shape (rows,)) occurred in an earlier row."""
    _, first = np.unique(keys, return_index=True)
    mask = np.ones(len(keys), dtype=bool)
    mask[first] = False
    return mask


def contradictions(text_hashes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mask of the rows whose text occurs with more than one label.

    Args:
        text_hashes: uint64, shape (rows,): language and text.
        labels: int, shape (rows,): label number, negative for rows without a label, which neither
            contradict nor are contradicted.
    """
    labelled = np.flatnonzero(labels >= 0)
    groups, inverse = np.unique(text_hashes[labelled], return_inverse=True)
    lowest = np.full(len(groups), np.iinfo(np.int64).max)
    highest = np.full(len(groups), -1, dtype=np.int64)
    np.minimum.at(lowest, inverse, labels[labelled])
    np.maximum.at(highest, inverse, labels[labelled])
    mask = np.zeros(len(labels), dtype=bool)
    mask[labelled] = (lowest != highest)[inverse]
    return mask


@cache
def _patterns() -> tuple[Any, Any]:
    import regex

    return (
        regex.compile(r"[\p{P}\p{S}\p{Z}\p{C}]+"),
        regex.compile(r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]"),
    )


def shingles(text: str) -> frozenset[str]:
    """Character n-grams of `text` without case, width, punctuation and spacing of punctuation.

    Three letters, or two characters where most are Han, Kana or Hangul. `Turn on the TV!` and
    `turn on the tv` have the same; a text of punctuation only is its own shingle.
    """
    separators, ideographs = _patterns()
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = " ".join(separators.sub(" ", folded).split()) or folded
    size = 2 if 2 * len(ideographs.findall(folded)) >= len(folded) else 3
    if len(folded) <= size:
        return frozenset([folded])
    return frozenset(folded[start : start + size] for start in range(len(folded) - size + 1))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Size of the intersection over size of the union, 0 to 1."""
    common = len(left & right)
    return common / (len(left) + len(right) - common)


@dataclass(frozen=True)
class Signed:
    """Texts as their shingles and one key a band: texts with an equal key may be near copies."""

    shingles: list[frozenset[str]]
    second: list[frozenset[str] | None]  # shingles of the second text of each, if it has one
    keys: np.ndarray  # uint64, shape (texts, bands)


def sign(
    texts: Sequence[str], threshold: float, *, second_texts: Sequence[str | None] | None = None
) -> Signed:
    """The MinHash signature of each text, in bands made for Jaccard similarities of `threshold`.

    Args:
        second_texts: part of each text that is to be as similar by itself; null where none is.
    """
    sets = [shingles(text) for text in texts]
    second = [
        None if text is None else shingles(text) for text in second_texts or [None] * len(texts)
    ]
    size = _rows_per_band(threshold)
    num_bands = _NUM_PERMUTATIONS // size
    if not sets:
        return Signed([], [], np.empty((0, num_bands), np.uint64))
    import rensa

    minhash: Any = rensa.RMinHash  # type: ignore[attr-defined]  # compiled, without stubs
    digests = np.array(
        minhash.digests_from_token_sets(sets, _NUM_PERMUTATIONS, _MINHASH_SEED), dtype=np.uint64
    )
    bands = digests[:, : num_bands * size].reshape(len(sets), num_bands, size)
    keys = np.broadcast_to(np.arange(num_bands, dtype=np.uint64), bands.shape[:2]).copy()
    for position in range(size):
        keys = mixed(keys + bands[:, :, position])
    return Signed(sets, second, keys)


class NearDuplicateIndex:
    """Texts with numbers; finds those similar to a new text while it grows.

    Args:
        threshold: least Jaccard similarity of `shingles`, above 0.5 and up to 1; texts must be
            signed for the same one.
    """

    def __init__(self, threshold: float) -> None:
        """An empty index."""
        self._threshold = threshold
        self._buckets: dict[int, list[int]] = defaultdict(list)
        self._shingles: dict[int, _RowShingles] = {}

    def find_or_add(self, numbers: Sequence[int], texts: Signed) -> list[tuple[int, float] | None]:
        """For each text the most similar earlier one and their similarity, None if below threshold.

        Each text without a match is added, so the first of a group stays. Of equally similar ones
        the lowest number wins.
        """
        found = []
        rows = zip(texts.shingles, texts.second, strict=True)
        for number, row, keys in zip(numbers, rows, texts.keys.tolist(), strict=True):
            best = self._best(row, keys)
            if best is None:
                self._insert(number, row, keys)
            found.append(best)
        return found

    def _insert(self, number: int, row: _RowShingles, keys: list[int]) -> None:
        self._shingles[number] = row
        for key in keys:
            self._buckets[key].append(number)

    def _best(self, row: _RowShingles, keys: list[int]) -> tuple[int, float] | None:
        candidates = {number for key in keys for number in self._buckets.get(key, ())}
        scored = [(_likeness(row, self._shingles[number]), -number) for number in candidates]
        if not scored:
            return None
        similarity, number = max(scored)
        return (-number, similarity) if similarity >= self._threshold else None


def _likeness(row: _RowShingles, other: _RowShingles) -> float:
    """Jaccard similarity of the rows, or of their second texts where these are less alike."""
    (grams, second), (other_grams, other_second) = row, other
    whole = jaccard(grams, other_grams)
    if second is None or other_second is None:
        return whole
    return min(whole, jaccard(second, other_second))


def mixed(values: np.ndarray) -> np.ndarray:
    """A well-mixed uint64 of each uint64: the finaliser of splitmix64 (Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _rows_per_band(threshold: float) -> int:
    """The most rows a band may have for `_MIN_RECALL` at `threshold`: fewest false candidates."""
    for size in range(16, 1, -1):
        if 1 - (1 - threshold**size) ** (_NUM_PERMUTATIONS // size) >= _MIN_RECALL:
            return size
    return 1
