"""Pairs of texts -> token ids, in the tokenizer's own pair template, longest text cut first.

    frame of BERT         [CLS] a … [SEP] b … [SEP]
    frame of XLM-R        <s>   a … </s> </s> b … </s>
    of a bi-encoder       [CLS] a … [SEP] [CLS] b … [SEP]

The frame is found by encoding a pair. Texts are encoded apart, which gives the same ids, since a
tokenizer cuts each side of a pair by itself; so lengths are known before anything is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.errors import SourceError
from tasks.corpus.text.truncation import longest_first
from tasks.corpus.tokenizers.encoding import CHUNK_ROWS, special_frame

if TYPE_CHECKING:
    from tokenizers import Tokenizer

pc: Any = pyarrow.compute


class PairFrame(NamedTuple):
    """Special tokens before, between and after two texts."""

    before: list[int]
    between: list[int]
    after: list[int]

    @property
    def num_special(self) -> int:
        """Special tokens around a pair."""
        return sum(map(len, self))


class EncodedPairs(NamedTuple):
    """Token ids of pairs, list<int32>, and the tokens each pair would have uncut, int64 (rows,)."""

    input_ids: pa.ListArray
    lengths: np.ndarray
    num_special: int


def pair_frame(tokenizer: Tokenizer) -> PairFrame:
    """The special tokens around a pair, found by encoding one.

    Raises: SourceError if the tokenizer changes texts when it frames them.
    """
    first, second = (tokenizer.encode(text, add_special_tokens=False).ids for text in ("0", "1"))
    whole = tokenizer.encode("0", "1").ids
    start = _find(whole, first, 0)
    middle = _find(whole, second, start + len(first)) if start >= 0 else -1
    if middle < 0:
        raise SourceError(
            "the tokenizer changes the tokens of two texts when it joins them",
            rule="special tokens stand before, between and after the tokens of a pair",
            remedy="use a tokenizer with such a template",
        )
    end = middle + len(second)
    return PairFrame(whole[:start], whole[start + len(first) : middle], whole[end:])


def framed_apart(tokenizer: Tokenizer) -> None:
    """Give `tokenizer` a template of pairs in which each text has the frame it has alone.

    So whoever encodes a pair with it, in training or in service, gets what a bi-encoder reads
    (`tasks.modeling.heads.pair_encoder`), cut as any pair is.

    Raises: SourceError if texts have no special token before, or none after them: nobody could tell
        where the second text begins.
    """
    from tokenizers import processors

    before, after = special_frame(tokenizer)
    if not before or not after:
        raise SourceError(
            f"the tokenizer puts {len(before)} special tokens before a text and {len(after)} after",
            rule="texts of a pair are read apart (pairs: apart) where a token marks the beginning "
            "of each, and one its end",
            remedy="use a tokenizer that frames texts, or pairs: together",
        )
    names = {token: str(tokenizer.id_to_token(token)) for token in (*before, *after)}
    opened, closed = ([names[token] for token in side] for side in (before, after))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*opened, "$A", *closed],
        pair=[*opened, "$A", *closed, *opened, "$B", *closed],
        special_tokens=[(name, token) for token, name in names.items()],
    )


def _find(whole: Sequence[int], part: Sequence[int], start: int) -> int:
    for place in range(start, len(whole) - len(part) + 1):
        if whole[place : place + len(part)] == part:
            return place
    return -1


def encode_pairs(
    tokenizer: Tokenizer,
    firsts: pa.Array,
    seconds: pa.Array,
    *,
    max_length_tokens: int,
    workers: int,
) -> EncodedPairs:
    """Encode `firsts` and `seconds` (string, no nulls, equally many) as pairs, in order.

    Args:
        max_length_tokens: longest list of ids, special tokens included.
        workers: threads; changes the speed only.

    Raises: SourceError if no room is left for text.
    """
    frame = pair_frame(tokenizer)
    room = max_length_tokens - frame.num_special
    if room < 2:
        raise SourceError(
            f"max_length_tokens is {max_length_tokens}, the tokenizer adds {frame.num_special} "
            "special tokens to a pair",
            rule="at least one token of each text must fit",
            remedy="raise max_length_tokens",
        )
    sides = [_bodies(tokenizer, texts, workers) for texts in (firsts, seconds)]
    kept = longest_first(sides[0][1], sides[1][1], room)
    pieces = [
        (np.array(frame.before, np.int32), None),
        (sides[0], kept[0]),
        (np.array(frame.between, np.int32), None),
        (sides[1], kept[1]),
        (np.array(frame.after, np.int32), None),
    ]
    offsets = np.zeros(len(firsts) + 1, np.int64)
    np.cumsum(kept[0] + kept[1] + frame.num_special, out=offsets[1:])
    values = np.empty(offsets[-1], np.int32)
    places = offsets[:-1].copy()  # where the next token of each row goes
    for piece, lengths in pieces:
        if lengths is None:
            for token in piece:
                values[places] = token
                places += 1
            continue
        flat, whole = piece
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        source = np.repeat(np.cumsum(whole) - whole, lengths) + within
        values[np.repeat(places, lengths) + within] = flat[source]
        places += lengths
    item = pa.field("element", pa.int32(), nullable=False)
    ids = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(values), type=pa.list_(item)
    )
    lengths = sides[0][1] + sides[1][1] + frame.num_special
    return EncodedPairs(ids, lengths, frame.num_special)


def _bodies(tokenizer: Tokenizer, texts: pa.Array, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids of all texts, one after the other, and how many each has; no special tokens."""

    def encode(chunk: pa.Array) -> list[list[int]]:
        encodings = tokenizer.encode_batch_fast(chunk.to_pylist(), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    chunks = [texts.slice(start, CHUNK_ROWS) for start in range(0, len(texts), CHUNK_ROWS)]
    with ThreadPoolExecutor(workers) as pool:
        ids = [body for bodies in pool.map(encode, chunks) for body in bodies]
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    return np.fromiter(chain.from_iterable(ids), np.int32, int(lengths.sum())), lengths
