"""Byte-pair merges replayed for thousands of pieces at once, in NumPy.

The rule of byte-pair encoding: of all neighbours in a piece, join the pair that was learned first
(the leftmost of equals), and again until no pair is left to join. Each sweep joins one pair in
every piece; pieces with none left are done and leave.

    learned      0: 开灯   1: 打开灯
    pieces       打 开 灯 |  关 灯 |       a separator ends each, in no pair
    rank         -  0  -  -  -  -  -
    joined       打 开灯 |                 关灯 is done
    rank         1  -   -
    joined       打开灯 |                  then done too

The library replays piece by piece, with a heap, and makes strings of the tokens as well. Texts that
one core encodes in a second, by the library's merges and by these (2026-11-26):

    random Chinese texts of 9 characters, no two alike    132,000   1,200,000
    Chinese sentences of 10 characters                    205,000     450,000
    German sentences of 145                                48,000      94,000
    English paragraphs of 568                              13,700      22,600
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NO_MERGE = 2**31 - 1  # the rank of a pair that was not learned
_POSITION_BITS = 32
_ID_BITS = 32
_EMPTY = -1
# Slots of the table for each pair: most pairs are told from others at the first look.
_SLOTS_PER_PAIR = 4
_FIBONACCI = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: Fibonacci hashing (Knuth 1973)


class TokenizedTexts(NamedTuple):
    """Ids of texts, one after the other: int32 (tokens,), and int64 (texts,) how many each has."""

    ids: np.ndarray
    lengths: np.ndarray

    def take(self, order: np.ndarray) -> TokenizedTexts:
        """The texts `order` (numbers, repeats allowed), one after the other."""
        lengths = self.lengths[order]
        starts = (np.cumsum(self.lengths) - self.lengths)[order]
        before = np.cumsum(lengths) - lengths
        return TokenizedTexts(
            self.ids[np.repeat(starts - before, lengths) + np.arange(lengths.sum())], lengths
        )


class Merger:
    """A byte-pair model, ready to replay its merges. Threads may share it."""

    def __init__(self, model: dict[str, Any]) -> None:
        """Take over the model of a tokenizer.json, which `merger_of` has looked at."""
        vocabulary, merges = model["vocab"], model["merges"]
        self._char_ids = np.full(sys.maxunicode + 1, vocabulary[model["unk_token"]], np.int32)
        for token, number in vocabulary.items():
            if len(token) == 1:
                self._char_ids[ord(token)] = number
        self._merged_ids = np.array([vocabulary[left + right] for left, right in merges], np.int32)
        self._ranks = _PairRanks([(vocabulary[left], vocabulary[right]) for left, right in merges])
        self._separator_id = np.int32(max(vocabulary.values()) + 1)

    def encode(self, code_points: np.ndarray, sizes: np.ndarray) -> TokenizedTexts:
        """The ids of pieces, as the library gives them.

        Args:
            code_points: uint32 (characters,), code points of the pieces, one after the other.
            sizes: int64 (pieces,), how many each has.
        """
        lengths = sizes + 1
        tokens = np.insert(self._char_ids[code_points], np.cumsum(sizes), self._separator_id)
        ranks = self._ranks.of(tokens, np.append(tokens[1:], self._separator_id))
        places = np.arange(len(sizes))
        done = []
        while True:
            starts = np.cumsum(lengths) - lengths
            # Positions under the ranks: the least of a piece is the leftmost of its first pairs.
            ordered = (ranks << _POSITION_BITS) | np.arange(len(ranks))
            least = np.minimum.reduceat(ordered, starts) if len(starts) else ordered
            joins = least < (_NO_MERGE << _POSITION_BITS)
            left = least[joins] & ((1 << _POSITION_BITS) - 1)
            within = np.repeat(joins, lengths)
            done.append((places[~joins], lengths[~joins] - 1, tokens[~within]))
            if not joins.any():
                break
            tokens[left] = self._merged_ids[ranks[left]]
            within[left + 1] = False
            left = (np.cumsum(within) - 1)[left]
            tokens, ranks = tokens[within], ranks[within]
            places, lengths = places[joins], lengths[joins] - 1
            # Before a piece stands the separator of another (before the first, the last one's):
            # in no pair, so its rank stays what it was.
            ranks[left] = self._ranks.of(tokens[left], tokens[left + 1])
            ranks[left - 1] = self._ranks.of(tokens[left - 1], tokens[left])
        order, lengths, tokens = map(np.concatenate, zip(*done, strict=True))
        return TokenizedTexts(tokens[tokens != self._separator_id], lengths).take(np.argsort(order))


class _PairRanks:
    """When each pair was learned: a hash table of pairs with linear probing."""

    def __init__(self, pairs: list[tuple[int, int]]) -> None:
        bits = max(len(pairs) * _SLOTS_PER_PAIR, 2).bit_length()
        self._shift = np.uint64(64 - bits)
        self._last = 2**bits - 1
        self._keys = np.full(2**bits, _EMPTY)
        self._values = np.full(2**bits, _NO_MERGE)
        numbers = np.array(pairs, np.int64).reshape(-1, 2)
        keys = _key(numbers[:, 0], numbers[:, 1])
        for rank, (key, slot) in enumerate(zip(keys, self._slots(keys).tolist(), strict=True)):
            while self._keys[slot] != _EMPTY:
                slot = (slot + 1) & self._last
            self._keys[slot], self._values[slot] = key, rank

    def of(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """int64 rank of each pair of neighbours."""
        keys = _key(left, right)
        slots = self._slots(keys)
        found = self._keys[slots]
        ranks = np.where(found == keys, self._values[slots], _NO_MERGE)
        asking = np.flatnonzero((found != keys) & (found != _EMPTY))
        while len(asking):
            slots[asking] = (slots[asking] + 1) & self._last
            found = self._keys[slots[asking]]
            hit = found == keys[asking]
            ranks[asking[hit]] = self._values[slots[asking[hit]]]
            asking = asking[~hit & (found != _EMPTY)]
        return ranks

    def _slots(self, keys: np.ndarray) -> np.ndarray:
        return ((keys.view(np.uint64) * _FIBONACCI) >> self._shift).view(np.int64)


def _key(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left.astype(np.int64) << _ID_BITS) | right


def merger_of(tokenizer: Tokenizer) -> Merger | None:
    """What replays the merges of `tokenizer`; None if its model does more than that."""
    model = json.loads(tokenizer.to_str())["model"]
    plain = (
        model["type"] == "BPE"
        and model["unk_token"] in model["vocab"]
        and not model["continuing_subword_prefix"]
        and not model["end_of_word_suffix"]
        and not any(model[name] for name in ("dropout", "fuse_unk", "byte_fallback"))
        and not model["ignore_merges"]
    )
    return Merger(model) if plain else None
