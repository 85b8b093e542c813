"""A text and what is to be written for it: a translation, a summary, a reply.

A text may have several targets; each is a row of its own. What counts as a leak differs: a
translation is a text of the target language, so a sentence may lie on neither side of an evaluation
row; a summary or a short reply ("Thank you.") may well be that of another text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from tasks.corpus.changes import Changes
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.kind import (
    PreparedRow,
    Reading,
    RowKind,
    RowRules,
    Tokenized,
    UnfitError,
    check_text,
    count_unknown,
    normalized,
    text_cell,
    text_hash,
)
from tasks.corpus.tokenizers.encoding import Encoder, readable_text, special_frame
from tasks.corpus.tokenizers.tokenizer import end_id, unknown_id

if TYPE_CHECKING:
    from tasks.corpus.sources.source import Source

pc: Any = pyarrow.compute

_LABELLED = 0  # code of an annotation: rows are not compared by it


class TargetRows(RowKind):
    """Rows of a text and its target, which transfer rows may lack."""

    corpus_contract = "corpus_seq2seq"
    tokens_contract = "tokens_seq2seq"
    fields = (pa.field("target_text", pa.string()), pa.field("target_language", pa.string()))
    pairs_count = True
    classes_needed = 0
    compared_columns = ("text", "target_text")
    training_columns = ("target_text",)
    decodes = True

    def __init__(self, *, translation: bool) -> None:
        """Args: whether targets are translations, which leak like texts."""
        self._translation = translation

    def prepare(self, row: RawRow, rules: RowRules, changes: Changes) -> PreparedRow:
        """Normalise text and target."""
        text = normalized(row.text, rules, changes.removed)
        check_text(text, rules.language, rules.filters)
        hashed = text_hash(rules.language, text)
        target = normalized(text_cell(row, "target_text"), rules, changes.removed)
        if not target:
            if rules.needs_label:
                raise UnfitError("missing_target", "no target text")
            return PreparedRow(text, hashed, extra=(None, None))
        language = rules.target_language or rules.language
        check_text(target, language, rules.filters, what="target")
        second = (target,) if self._translation else ("target", text, target)
        return PreparedRow(
            text,
            hashed,
            parallel_hash=text_hash(language, *second),
            annotation=_LABELLED,
            extra=(target, language),
        )

    def compared(self, piece: pa.Table) -> tuple[list[str], list[str | None]]:
        """Texts and targets."""
        return piece["text"].to_pylist(), piece["target_text"].to_pylist()

    def second_language(self, source: Source, target_language: str) -> str | None:
        """The target's, if it is a translation."""
        own = getattr(source, "target_language", None)
        return (own or target_language) if self._translation else None

    def evaluated_languages(self, source_language: str, target_language: str) -> tuple[str, ...]:
        """A translation is of texts in the source language alone."""
        both = super().evaluated_languages(source_language, target_language)
        return both[:1] if self._translation else both

    def class_labels(self, names: Sequence[str]) -> list[str]:
        """None: tokens are written, not classes."""
        return []

    def training_texts(self, rows: pa.Table, languages: tuple[str, ...]) -> list[pa.Array]:
        """Both sides of the rows that the reader reads: it writes the same vocabulary."""
        texts = readable_text(rows, languages)[0]
        targets = rows["target_text"].combine_chunks().filter(pc.is_valid(texts))
        return [texts.drop_null(), targets.drop_null()]

    def token_facts(self, reading: Reading) -> dict[str, int]:
        """How targets end, and how long they may be."""
        return {
            "eos_token_id": end_id(reading.tokenizer),
            "max_target_tokens": reading.max_target_tokens,
        }

    def tokens(self, rows: pa.Table, reading: Reading) -> Tokenized | None:
        """Each text and its target, closed by the end token."""
        texts, languages = readable_text(rows, reading.languages)
        read = pc.is_valid(texts)
        texts = texts.filter(read)
        targets = rows["target_text"].combine_chunks().filter(read)
        encoder = Encoder(
            reading.tokenizer,
            max_length_tokens=reading.max_length_tokens,
            unknown_id=unknown_id(reading.tokenizer),
            workers=reading.workers,
        )
        encoded = encoder.encode(pa.chunked_array([texts], pa.string()))
        target_ids, targets_cut = _target_ids(targets, encoder, reading)
        cut = (encoded.lengths > reading.max_length_tokens) | targets_cut
        return Tokenized(
            {
                "example_id": rows["example_id"].filter(read),
                "input_ids": encoded.input_ids,
                "label": pa.array([-1] * len(texts), pa.int32()),
                "language": languages.filter(read),
                "target_ids": target_ids,
            },
            texts=texts,
            lengths=encoded.lengths,
            num_truncated=int(cut.sum()),
            num_special=encoder.num_special,
            num_unknown=encoded.num_unknown + count_unknown(reading.tokenizer, target_ids),
        )


def _target_ids(
    targets: pa.Array, encoder: Encoder, reading: Reading
) -> tuple[pa.ListArray, np.ndarray]:
    """Ids of the targets, null where there is none, and a mask of those that were cut.

    The frame that the tokenizer puts around a text is taken off: a target is its tokens and the
    end token, [开 灯 </s>].
    """
    end = end_id(reading.tokenizer)
    prefix, suffix = special_frame(reading.tokenizer)
    room = reading.max_target_tokens - 1
    given = pc.is_valid(targets)
    whole = Encoder(
        reading.tokenizer,
        max_length_tokens=room + len(prefix) + len(suffix),
        unknown_id=None,
        workers=reading.workers,
    ).encode(pa.chunked_array([targets.drop_null()], pa.string()))
    bodies = [ids[len(prefix) : len(ids) - len(suffix)] for ids in whole.input_ids.to_pylist()]
    lengths = np.zeros(len(targets), np.int64)
    mask = given.to_numpy(zero_copy_only=False)
    lengths[mask] = [len(body) + 1 for body in bodies]
    cut = np.zeros(len(targets), bool)
    cut[mask] = whole.lengths - encoder.num_special > room
    values = list(chain.from_iterable((*body, end) for body in bodies))
    item = pa.field("element", pa.int32(), nullable=False)
    offsets = pa.array([0, *np.cumsum(lengths).tolist()], pa.int32())
    ids = pa.ListArray.from_arrays(
        offsets, pa.array(values, pa.int32()), type=pa.list_(item), mask=pc.invert(given)
    )
    return ids, cut
