"""Texts cut into the pieces that a tokenizer reads by themselves, without regular expressions.

    texts        "turn on the light", "打开the fan"       a chunk of some thousand
    pieces       ▁turn ▁on ▁the ▁light 打开 the ▁fan
    different    each is read once: by merging.py if the model is byte pairs, else by the library

Most of a tokenizer's time goes into expressions that find these pieces. Here characters are looked
up in a table and pieces found by comparing neighbours, in NumPy. The ids stay those of the library,
because a text takes this way only if that is known:

- `tokenizing.train_tokenizer` made the tokenizer: only then are its rules for pieces ours to know;
- every character of the text stands alone: it does not join its neighbours under Unicode's normal
  forms, and the tokenizer itself was asked what it makes of it;
- no added token stands in it as it is spelled, nor the first character of one that is looked for
  after normalising.

All other texts are given to the tokenizer whole. Cutting in NumPy took random Chinese texts of 9
characters, no two alike, from 90,000 to 175,000 a second on one core, with the library's merges;
what merging.py adds is told there.
Words of BERT's and XLM-RoBERTa's tokenizers were tried too (2026-11-24, 18,000 sentences in 12
languages): 0.8 against 1.1 s and 1.5 against 0.8 s; most words occur once in a chunk, so those are
left alone.
"""

from __future__ import annotations

import json
import sys
import threading
import unicodedata
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tasks.corpus.tokenizers.merging import Merger, TokenizedTexts, merger_of
from tasks.corpus.tokenizers.tokenizer import MAX_UNSPACED_CHARS, MAX_WORD_CHARS, trained_steps

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Classes of characters; the table of a new tokenizer is all UNKNOWN.
_SPACE, _WORD, _RUN, _SINGLE, _UNSAFE, _UNKNOWN = range(6)
# Longest run of each class: longer ones are cut by the tokenizer, none may be unsafe.
_MOST_CHARS = np.array([2**62, MAX_WORD_CHARS, MAX_UNSPACED_CHARS, 1, 0])
_WORD_START = "▁"
# For fewer texts, such as one asked of a server, the tables are not worth their making.
_MIN_TEXTS = 64


class PieceReader:
    """Reads texts with a tokenizer, without special tokens, piece by piece where that is exact."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Find out how `tokenizer` cuts texts; it must not truncate or pad."""
        self._tokenizer, self._rules = tokenizer, _rules_of(tokenizer)
        self._learning = threading.Lock()
        self._class_of = self._char_of = np.zeros(0)

    def read(self, texts: pa.Array) -> TokenizedTexts:
        """The ids of `texts` (string, no nulls), as `encode_batch_fast` gives them."""
        strings = texts.to_pylist()
        if self._rules is None or len(strings) < _MIN_TEXTS:
            return _read(self._tokenizer, strings)
        # A space before each text keeps the pieces of two texts apart, and marks a first word.
        joined = " " + " ".join(strings)
        codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
        classes = self._classes(codes)
        chars = np.fromiter(map(len, strings), np.int64, len(strings)) + 1
        firsts = np.cumsum(chars) - chars
        begins = np.empty(len(codes), bool)
        np.not_equal(classes[1:], classes[:-1], out=begins[1:])
        begins |= classes == _SINGLE
        begins[firsts] = True
        starts = np.flatnonzero(begins)
        sizes = np.diff(starts, append=len(codes))
        kinds = classes[starts]
        text_of = np.repeat(np.arange(len(strings)), chars)[starts]
        whole = np.zeros(len(strings), bool)
        whole[text_of[sizes > _MOST_CHARS[kinds]]] = True
        whole[self._rules.holding_added_tokens(strings, joined)] = True
        kept = (kinds != _SPACE) & ~whole[text_of]
        in_pieces = np.repeat(kept, sizes)
        marked = kept & (kinds == _WORD)
        marked[marked] = classes[starts[marked] - 1] == _SPACE
        in_pieces[starts[marked] - 1] = True
        pieces = _strings(self._char_of[codes[in_pieces]], (sizes + marked)[kept])
        pieces = pieces.dictionary_encode()
        read = self._rules.read(pieces.dictionary)
        order, text_of = pieces.indices.to_numpy(), text_of[kept]
        if whole.any():
            # Each text read whole is one more piece, put where its text stands.
            others = np.flatnonzero(whole)
            rest = _read(self._tokenizer, [strings[row] for row in others])
            order = np.concatenate([order, len(read.lengths) + np.arange(len(others))])
            text_of = np.concatenate([text_of, others])
            by_text = np.argsort(text_of, kind="stable")
            order, text_of = order[by_text], text_of[by_text]
            read = TokenizedTexts(*map(np.concatenate, zip(read, rest, strict=True)))
        lengths = np.bincount(text_of, read.lengths[order], len(strings)).astype(np.int64)
        return TokenizedTexts(read.take(order).ids, lengths)

    def _classes(self, codes: np.ndarray) -> np.ndarray:
        """Class of each character; characters not met before are looked at."""
        assert self._rules is not None
        with self._learning:
            if not len(self._class_of):
                self._class_of = np.full(sys.maxunicode + 1, _UNKNOWN, np.uint8)
                self._char_of = np.zeros(sys.maxunicode + 1, np.uint32)
            classes = self._class_of[codes]
            if (unknown := classes == _UNKNOWN).any():
                for code in np.unique(codes[unknown]).tolist():
                    self._class_of[code], char = self._rules.look_at(chr(code))
                    self._char_of[code] = ord(char)
                classes = self._class_of[codes]
        return classes


class _Rules:
    """The pieces of a tokenizer that `train_tokenizer` made: runs of letters, runs of unspaced
    script, and signs. A word carries a mark if a space or nothing stands before it.
    """

    def __init__(self, tokenizer: Tokenizer, steps: tuple[Any, Any]) -> None:
        from tokenizers import Tokenizer as Reader

        self._piece_tokenizer = Reader(tokenizer.model)
        self._normalizer, self._splitter = steps
        self._own_splitter = tokenizer.pre_tokenizer
        added = tokenizer.get_added_tokens_decoder().values()
        # Such tokens are found in a text as it was written, before all else.
        self._verbatim = [token.content for token in added if not token.normalized]
        normalized = [token.content for token in added if token.normalized]
        self._begin = _first_chars(normalized, tokenizer.normalizer)

    def holding_added_tokens(self, strings: list[str], joined: str) -> list[int]:
        """Places of `strings` that hold one of the tokenizer's added tokens as it is spelled."""
        found = [token for token in self._verbatim if token in joined]
        if not found:
            return []
        return [place for place, one in enumerate(strings) if any(token in one for token in found)]

    @cached_property
    def _merger(self) -> Merger | None:
        return merger_of(self._piece_tokenizer)

    def read(self, pieces: pa.StringArray) -> TokenizedTexts:
        """The ids of different pieces."""
        strings = pieces.to_pylist()
        if self._merger is None:
            return _read(self._piece_tokenizer, strings)
        codes = np.frombuffer("".join(strings).encode("utf-32-le"), np.uint32)
        return self._merger.encode(codes, np.fromiter(map(len, strings), np.int64, len(strings)))

    def look_at(self, char: str) -> tuple[int, str]:
        """Class of a character, and what it becomes."""
        if char == " ":
            return _SPACE, _WORD_START
        becomes = self._normalizer.normalize_str(char)[1:]  # a space is put in front
        if (
            len(becomes) != 1
            or not _stands_alone(char)
            or not _stands_alone(becomes)
            or {char, becomes} & {*self._begin, _WORD_START}
        ):
            return _UNSAFE, char
        twice = [piece for piece, _ in self._splitter.pre_tokenize_str(f" {becomes * 2}")]
        own = [piece for piece, _ in self._own_splitter.pre_tokenize_str(f" {becomes * 2}")]
        kinds = {
            (_WORD_START + becomes * 2,): _WORD,
            (becomes * 2,): _RUN,
            (becomes, becomes): _SINGLE,
        }
        # A WordPiece tokenizer sets apart what its vocabulary lacks, within runs.
        return kinds.get(tuple(twice), _UNSAFE) if twice == own else _UNSAFE, becomes


def _rules_of(tokenizer: Tokenizer) -> _Rules | None:
    """How pieces are found; None if the tokenizer was not trained here."""
    if tokenizer.normalizer is None or tokenizer.pre_tokenizer is None:
        return None
    own = _described(tokenizer.normalizer, tokenizer.pre_tokenizer)
    for steps in trained_steps():
        expected = _described(*steps)
        splits = expected["pre_tokenizer"]["pretokenizers"]
        found = own["pre_tokenizer"].get("pretokenizers", [])
        if (
            own["normalizer"] == expected["normalizer"]
            and found[: len(splits)] == splits
            and all(split["type"] == "Split" for split in found[len(splits) :])
        ):
            return _Rules(tokenizer, steps)
    return None


def _described(normalizer: Any, pre_tokenizer: Any) -> dict[str, Any]:
    from tokenizers import Tokenizer, models

    shell = Tokenizer(models.BPE())
    shell.normalizer, shell.pre_tokenizer = normalizer, pre_tokenizer
    return json.loads(shell.to_str())


def _first_chars(contents: list[str], normalizer: Any) -> set[str]:
    """First characters of tokens that are found in normalised text, before it is cut."""
    spelled = [*contents, *(normalizer.normalize_str(content).lstrip() for content in contents)]
    return {content[0] for content in spelled if content}


def _stands_alone(char: str) -> bool:
    """Whether a character joins no neighbour: a letter, number or sign, but no Hangul jamo.

    All else that composes with what is before it is a mark (Unicode 15, NFKC_Quick_Check).
    """
    folded = unicodedata.normalize("NFKC", char)
    return all(
        unicodedata.category(one)[0] in "LNPS"
        and not unicodedata.name(one, "").startswith(("HANGUL JUNGSEONG", "HANGUL JONGSEONG"))
        for one in (char, *folded)
    )


def _read(tokenizer: Tokenizer, texts: list[str]) -> TokenizedTexts:
    ids = [one.ids for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    return TokenizedTexts(
        np.fromiter(chain.from_iterable(ids), np.int32, int(lengths.sum())), lengths
    )


def _strings(codes: np.ndarray, sizes: np.ndarray) -> pa.Array:
    """Code points cut into strings of so many characters."""
    data = codes.tobytes().decode("utf-32-le").encode()
    widths = 1 + (codes >= 0x80).astype(np.int32) + (codes >= 0x800) + (codes >= 0x10000)
    ends = np.concatenate([[0], np.cumsum(widths)])[np.concatenate([[0], np.cumsum(sizes)])]
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(sizes), buffers)
