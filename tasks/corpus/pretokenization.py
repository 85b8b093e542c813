"""Texts cut into the pieces that a tokenizer reads by themselves, without regular expressions.

    texts        "turn on the light", "打开the fan"       a chunk of some thousand
    pieces       ▁turn ▁on ▁the ▁light 打开 the ▁fan
    different    each goes to the model once

Most of a tokenizer's time goes into expressions that find these pieces. Here characters are looked
up in a table and pieces found by comparing neighbours, in NumPy. The ids stay those of the library,
because a text takes this way only if that is known:

- `tokenizing.train_tokenizer` made the tokenizer: only then are its rules for pieces ours to know;
- every character of the text stands alone: it neither joins its neighbours under Unicode's normal
  forms nor begins a special token, and the tokenizer itself was asked what it makes of it.

All other texts are given to the tokenizer whole. Measured on one core, ids included: random Chinese
texts of 9 characters, no two alike, 90,000 -> 175,000 texts a second. Words of BERT's and
XLM-RoBERTa's tokenizers were tried too (2026-11-24, 18,000 sentences in 12 languages): 0.8 against
1.1 s and 1.5 against 0.8 s; most words occur once in a chunk, so those are left alone.
"""

from __future__ import annotations

import json
import threading
import unicodedata
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from tasks.corpus.tokenizing import MAX_UNSPACED_CHARS, MAX_WORD_CHARS, trained_steps

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Classes of characters; the table of a new tokenizer is all UNKNOWN.
_SPACE, _WORD, _RUN, _SINGLE, _UNSAFE, _UNKNOWN = range(6)
# Longest run of each class: longer ones are cut by the tokenizer, none may be unsafe.
_MOST_CHARS = np.array([2**62, MAX_WORD_CHARS, MAX_UNSPACED_CHARS, 1, 0])
_NUM_CODE_POINTS = 0x110000
_WORD_START = "▁"
# For fewer texts, such as one asked of a server, the tables are not worth their making.
_MIN_TEXTS = 64


class TokenizedTexts(NamedTuple):
    """Ids of texts, one after the other: int32 (tokens,), and int64 (texts,) how many each has."""

    ids: np.ndarray
    lengths: np.ndarray


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
        codes = np.frombuffer((" " + " ".join(strings)).encode("utf-32-le"), np.uint32)
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
        kept = (kinds != _SPACE) & ~whole[text_of]
        in_pieces = np.repeat(kept, sizes)
        marked = kept & (kinds == _WORD)
        marked[marked] = classes[starts[marked] - 1] == _SPACE
        in_pieces[starts[marked] - 1] = True
        pieces = _strings(self._char_of[codes[in_pieces]], (sizes + marked)[kept])
        pieces = pieces.dictionary_encode()
        read = _read(self._rules.piece_tokenizer, pieces.dictionary.to_pylist())
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
        return TokenizedTexts(_gathered(read, order), lengths)

    def _classes(self, codes: np.ndarray) -> np.ndarray:
        """Class of each character; characters not met before are looked at."""
        assert self._rules is not None
        with self._learning:
            if not len(self._class_of):
                self._class_of = np.full(_NUM_CODE_POINTS, _UNKNOWN, np.uint8)
                self._char_of = np.zeros(_NUM_CODE_POINTS, np.uint32)
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

        self.piece_tokenizer = Reader(tokenizer.model)
        self._normalizer, self._splitter = steps
        self._own_splitter, self._begin = tokenizer.pre_tokenizer, _first_chars(tokenizer)

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


def _first_chars(tokenizer: Tokenizer) -> set[str]:
    """First characters of special and added tokens, which are found before texts are cut."""
    contents = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    normalizer: Any = tokenizer.normalizer
    contents += [normalizer.normalize_str(content).lstrip() for content in contents]
    return {content[0] for content in contents if content}


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


def _gathered(read: TokenizedTexts, order: np.ndarray) -> np.ndarray:
    """The ids of the pieces `order`, one after the other."""
    lengths = read.lengths[order]
    starts = (np.cumsum(read.lengths) - read.lengths)[order]
    ends = np.cumsum(lengths)
    return read.ids[np.repeat(starts - ends + lengths, lengths) + np.arange(lengths.sum())]
