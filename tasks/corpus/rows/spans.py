"""A text with named stretches of it: entities, terms, slots.

Files say which stretches in two ways, and both become character spans:

    words and tags    In | Berlin | regnet | es      O | B-LOC | O | O
    text and spans    In Berlin regnet es            {start: 3, end: 9, label: LOC}

Words are joined as their language is written (`tasks.corpus.rows.tagged`). Normalising may change
lengths: every word is normalised by itself, and the bounds of spans move along with the text
(`tasks.corpus.rows.character_spans`), so they stay where they were meant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa

from tasks.corpus.changes import Changes
from tasks.corpus.readers.nested_values import as_records
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.character_spans import normalize_with_places
from tasks.corpus.rows.kind import (
    PreparedRow,
    Reading,
    RowKind,
    RowRules,
    Tokenized,
    UnfitError,
    annotation_code,
    check_name,
    check_text,
    class_name,
    normalized,
    text_hash,
)
from tasks.corpus.rows.tagged import UNKNOWN_TAG, joined, tags_of, visible, words_of
from tasks.corpus.text.normalization import normalize
from tasks.corpus.text.tags import spans_of_tags
from tasks.corpus.text.units import OUTSIDE, Unit, align_spans

_Span = tuple[int, int, str]


class SpanRows(RowKind):
    """Rows of a text and its spans; both or neither of teacher and student read the same text."""

    corpus_contract = "corpus_token_classification"
    tokens_contract = "tokens_token_classification"
    fields = (
        pa.field("span_starts", pa.list_(pa.int32())),
        pa.field("span_ends", pa.list_(pa.int32())),
        pa.field("span_labels", pa.list_(pa.string())),
    )
    repairs = ("repaired_tags",)
    names_column = "span_labels"
    unknown_reason = UNKNOWN_TAG

    def prepare(self, row: RawRow, rules: RowRules, changes: Changes) -> PreparedRow:
        """Bring words and tags, or text and spans, into a normalised text with spans."""
        mended = Changes()
        read = _from_words if "words" in row.others else _from_text
        text, spans = read(row, rules, mended, changes.mapped)
        if spans is None and rules.needs_label:
            raise UnfitError("missing_label", "neither tags nor spans")
        for name in sorted({label for _, _, label in spans or ()}):
            check_name(name, rules, unknown=UNKNOWN_TAG)
        check_text(text, rules.language, rules.filters)
        changes.add(mended)  # of rows that are kept
        hashed = text_hash(rules.language, text)
        if spans is None:
            return PreparedRow(text, hashed, extra=(None, None, None))
        columns = tuple([span[place] for span in spans] for place in range(3))
        return PreparedRow(text, hashed, annotation=annotation_code(spans), extra=columns)

    def class_labels(self, names: Sequence[str]) -> list[str]:
        """O, then B- and I- of each type."""
        return [OUTSIDE, *(f"{prefix}-{name}" for name in names for prefix in "BI")]

    def tokens(self, rows: pa.Table, reading: Reading) -> Tokenized | None:
        """Token ids, where units begin in them, and the tag of each unit."""
        from tasks.corpus.tokens.unit_encoding import encode_units

        return encode_units(rows, reading, _unit_labels)


def _from_words(
    row: RawRow, rules: RowRules, mended: Changes, mapped: Counter[str]
) -> tuple[str, list[_Span] | None]:
    """Text and spans; `mended` is of a row that is kept, `mapped` of every row."""
    words = words_of(row)
    tags = tags_of(row, rules, mapped, words)
    cleaned, tags = visible(words, tags, rules, mended.removed)
    text, starts = joined(cleaned, rules.language)
    if normalize(text, rules.normalization)[0] != text:
        raise UnfitError("span_splits_character", "two words join into other characters")
    if tags is None:
        return text, None
    spans, repaired = spans_of_tags(tags)
    mended.repaired["repaired_tags"] += repaired
    ends = [start + len(word) for start, word in zip(starts, cleaned, strict=True)]
    return text, [(starts[first], ends[last - 1], label) for first, last, label in spans]


def _from_text(
    row: RawRow, rules: RowRules, mended: Changes, mapped: Counter[str]
) -> tuple[str, list[_Span] | None]:
    """As `_from_words`."""
    if row.others.get("spans") is None:
        return normalized(row.text, rules, mended.removed), None
    records = as_records(row.others["spans"], ("start", "end", "label"))
    if records is None or not all(
        type(start) is int and type(end) is int and isinstance(label, str | int)
        for start, end, label in records
    ):
        raise UnfitError("malformed_spans", "spans are not a list of {start, end, label}")
    raw: list[_Span] = sorted(
        (start, end, class_name(label, rules, mapped, unknown=UNKNOWN_TAG))
        for start, end, label in records
    )
    for start, end, label in raw:
        if not 0 <= start < end <= len(row.text):
            raise UnfitError(
                "span_out_of_bounds", f"({start}, {end}) in {len(row.text)} characters"
            )
        if not label:
            raise UnfitError(UNKNOWN_TAG, "a span without a label")
    for (_, end, _), (start, _, _) in pairwise(raw):
        if start < end:
            raise UnfitError("spans_overlap", f"one ends at {end}, the next begins at {start}")
    places = [(start, end) for start, end, _ in raw]
    text, places = normalize_with_places(row.text, places, rules, mended.removed)
    spans = [(*place, label) for place, (_, _, label) in zip(places, raw, strict=True)]
    if empty := [label for start, end, label in spans if start == end]:
        raise UnfitError("empty_span", f"nothing visible is left of a span {empty[0]!r}")
    return text, spans


def _unit_labels(row: dict[str, Any], units: Sequence[Unit], labels: dict[str, int]) -> list[int]:
    """The number of each unit's tag; -1 in a row without annotation."""
    if row["span_starts"] is None:
        return [-1] * len(units)
    spans = list(zip(row["span_starts"], row["span_ends"], row["span_labels"], strict=True))
    return [labels[tag] for tag in align_spans(units, spans)]
