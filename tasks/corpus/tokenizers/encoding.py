"""Texts -> token ids as Arrow lists, without a Python loop over tokens.

    texts ──chunks of 4,096──► pieces ──► merging.py (NumPy) if byte pairs were learned here,
                                          else encode_batch_fast (Rust); mostly without the lock
          ──► one flat array of ids and its lengths ──► cut to length, framed ──► list<int32>

Threads take whole chunks and results are joined in order, so the ids do not depend on how many
there are. Cutting is done here, on the flat array, rather than by the tokenizer: that is how the
number of truncated texts is known without encoding the overflow a second time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.errors import SourceError
from tasks.corpus.text.languages import in_language
from tasks.corpus.tokenizers.pretokenization import PieceReader

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Parallelism is ours, by chunk: threads inside the library would use all cores whatever the
# number of workers, and it warns in every process forked later.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

CHUNK_ROWS = 4096
pc: Any = pyarrow.compute  # its functions are made at import: a type checker sees none of them


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of some texts and what it took to get them.

    Args:
        input_ids: list<int32>, one list a text, special tokens included.
        lengths: int64 (texts,), tokens each text would have had uncut, special tokens included.
        num_unknown: unknown tokens that remain after cutting.
    """

    input_ids: pa.ListArray
    lengths: np.ndarray
    num_unknown: int


class Encoder:
    """A tokenizer, a length and a number of threads, ready to encode texts."""

    def __init__(
        self, tokenizer: Tokenizer, *, max_length_tokens: int, unknown_id: int | None, workers: int
    ) -> None:
        """Learn the special tokens around a text.

        Args:
            tokenizer: without truncation and padding.
            max_length_tokens: longest list of ids, special tokens included.
            unknown_id: id of the unknown token, None if the vocabulary has none.
            workers: threads; changes the speed only.

        Raises: SourceError if the tokenizer does not frame texts with fixed tokens, or
            `max_length_tokens` leaves no room for text.
        """
        self._reader, self._unknown_id, self._workers = PieceReader(tokenizer), unknown_id, workers
        self._prefix, self._suffix = special_frame(tokenizer)
        self._max_body = max_length_tokens - self.num_special
        if self._max_body < 1:
            raise SourceError(
                f"max_length_tokens is {max_length_tokens}, the tokenizer adds {self.num_special} "
                "special tokens",
                rule="at least one token of text must fit",
                remedy="raise max_length_tokens",
            )

    @property
    def num_special(self) -> int:
        """Special tokens around each text."""
        return len(self._prefix) + len(self._suffix)

    def encode(
        self, texts: pa.ChunkedArray, *, on_rows: Callable[[int], None] = lambda rows: None
    ) -> EncodedTexts:
        """Encode texts (string, no nulls) in order.

        Args:
            on_rows: called with the number of texts each time a chunk is done.
        """
        chunks = [texts.slice(start, CHUNK_ROWS) for start in range(0, len(texts), CHUNK_ROWS)]
        parts = []
        with ThreadPoolExecutor(self._workers) as pool:
            for chunk, part in zip(chunks, pool.map(self._encode_chunk, chunks), strict=True):
                parts.append(part)
                on_rows(len(chunk))
        item = pa.field("element", pa.int32(), nullable=False)
        return EncodedTexts(
            input_ids=pa.concat_arrays([part.input_ids for part in parts])
            if parts
            else pa.array([], pa.list_(item)),
            lengths=_joined(part.lengths for part in parts),
            num_unknown=sum(part.num_unknown for part in parts),
        )

    def _encode_chunk(self, texts: pa.ChunkedArray) -> EncodedTexts:
        flat, lengths = self._reader.read(texts)
        input_ids = self._framed(flat, lengths)
        values = input_ids.values.to_numpy()
        unknown = 0 if self._unknown_id is None else int((values == self._unknown_id).sum())
        return EncodedTexts(input_ids, lengths + self.num_special, unknown)

    def _framed(self, flat: np.ndarray, lengths: np.ndarray) -> pa.ListArray:
        """Cut each body to length and put the special tokens around it.

        With lengths [3, 1], two tokens of room and the frame C … S:
            flat [a b c d]  ->  values [C a b S C d S], offsets [0 4 7]
        """
        kept = np.minimum(lengths, self._max_body)
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(kept + self.num_special, out=offsets[1:])
        values = np.empty(offsets[-1], np.int32)
        for place, token in enumerate(self._prefix):
            values[offsets[:-1] + place] = token
        for place, token in enumerate(reversed(self._suffix)):
            values[offsets[1:] - 1 - place] = token
        within = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
        source = np.repeat(np.cumsum(lengths) - lengths, kept) + within
        target = np.repeat(offsets[:-1] + len(self._prefix), kept) + within
        values[target] = flat[source]
        item = pa.field("element", pa.int32(), nullable=False)
        return pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), pa.array(values), type=pa.list_(item)
        )


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def special_frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Special tokens before and after a text, found by encoding one both ways."""
    body = tokenizer.encode("0", add_special_tokens=False).ids
    whole = tokenizer.encode("0").ids
    for start in range(len(whole) - len(body) + 1):
        if whole[start : start + len(body)] == body:
            return whole[:start], whole[start + len(body) :]
    raise SourceError(
        "the tokenizer changes a text's tokens when it adds special tokens",
        rule="special tokens stand before and after the tokens of a text",
        remedy="use a tokenizer with such a template",
    )


def readable_text(table: pa.Table, languages: Iterable[str]) -> tuple[pa.Array, pa.Array]:
    """The text and its language that a reader of `languages` takes from each row of a corpus.

    A row offers `text` and, if it is parallel, `parallel_text`. The first language in order of
    preference that the row offers wins; `zh` also takes `zh-Hant` and the like (RFC 4647, basic
    filtering). Both results are null where the row offers none.

        languages (zh, en):  text 开灯 zh, parallel "lights on" en   -> 开灯, zh
                             text "lights on" en                     -> lights on, en
                             text "Licht an" de                      -> null, null
    """
    texts = pa.nulls(table.num_rows, pa.string())
    tags = pa.nulls(table.num_rows, pa.string())
    for language in languages:
        for text_column, tag_column in (
            ("text", "language"),
            ("parallel_text", "parallel_language"),
        ):
            tag = table[tag_column].combine_chunks()
            offered = in_language(tag, language)
            take = pc.fill_null(pc.and_(offered, pc.is_null(texts)), False)
            texts = pc.if_else(take, table[text_column].combine_chunks(), texts)
            tags = pc.if_else(take, tag, tags)
    return texts, tags
