"""A text and the set of classes that hold of it, which may be empty.

    Report 7 | sport, travel                                          columns.labels, or label
    In | Berlin | regnet | es    O | B-LOC | O | O   ->   {LOC}       columns.words and tags

Of tags the types count, not where they stand: one that continues nothing needs no mending.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute

from tasks.corpus.changes import Changes
from tasks.corpus.readers.nested_values import as_list
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.classification import ClassifiedRows
from tasks.corpus.rows.kind import (
    PreparedRow,
    Reading,
    RowKind,
    RowRules,
    Tokenized,
    UnfitError,
    annotation_code,
    check_name,
    class_name,
    label_indices,
)
from tasks.corpus.rows.tagged import joined, tags_of, visible, words_of
from tasks.corpus.text.tags import types_of_tags
from tasks.corpus.tokenizers.encoding import Encoder, readable_text
from tasks.corpus.tokenizers.tokenizer import unknown_id

pc: Any = pyarrow.compute


class MultilabelRows(RowKind):
    """Rows of a text, its classes and perhaps its meaning in another language."""

    corpus_contract = "corpus_multilabel_classification"
    tokens_contract = "tokens_multilabel_classification"
    fields = (pa.field("labels", pa.list_(pa.string())),)
    names_column = "labels"
    classes_needed = 1

    def prepare(self, row: RawRow, rules: RowRules, changes: Changes) -> PreparedRow:
        """Normalise the text as one with a single class, and the names of its classes."""
        words = words_of(row) if "words" in row.others else None
        tags = tags_of(row, rules, changes.mapped, words)
        if words is not None:
            words, tags = visible(words, tags, rules, changes.removed)
            row = row._replace(text=joined(words, rules.language)[0])
        if "tags" in row.others:
            labels = None if tags is None else _checked(types_of_tags(tags), rules)
        else:
            labels = _labels(row, rules, changes.mapped)
        if labels is None and rules.needs_label:
            raise UnfitError("missing_label", "no labels")
        unlabelled = row._replace(label=None)
        lenient = rules.model_copy(update={"needs_label": False})
        text = ClassifiedRows().prepare(unlabelled, lenient, changes)
        code = -1 if labels is None else annotation_code(labels)
        return text._replace(annotation=code, extra=(labels,))

    def tokens(self, rows: pa.Table, reading: Reading) -> Tokenized | None:
        """Each text in the first language that the reader reads, and the numbers of its classes."""
        texts, languages = readable_text(rows, reading.languages)
        read = pc.is_valid(texts)
        texts = texts.filter(read)
        encoder = Encoder(
            reading.tokenizer,
            max_length_tokens=reading.max_length_tokens,
            unknown_id=unknown_id(reading.tokenizer),
            workers=reading.workers,
        )
        encoded = encoder.encode(pa.chunked_array([texts], pa.string()))
        return Tokenized(
            {
                "example_id": rows["example_id"].filter(read),
                "input_ids": encoded.input_ids,
                "label": pa.array([-1] * len(texts), pa.int32()),
                "language": languages.filter(read),
                "labels": _numbers(rows["labels"].filter(read).combine_chunks(), reading.labels),
            },
            texts=texts,
            lengths=encoded.lengths,
            num_truncated=int((encoded.lengths > reading.max_length_tokens).sum()),
            num_special=encoder.num_special,
            num_unknown=encoded.num_unknown,
        )


def _labels(row: RawRow, rules: RowRules, mapped: Counter[str]) -> list[str] | None:
    """The names of the row's classes, sorted, each once; None if nobody has looked.

    A text cell without names says that no class holds where rows are labelled, else nothing.
    """
    if rules.label_separator is not None:
        text = row.label
        if text is not None and not text.strip() and not rules.needs_label:
            text = None
        raw = None if text is None else text.split(rules.label_separator)
    else:
        cell = row.others.get("labels")
        raw = None if cell is None else as_list(cell)
        if cell is not None and raw is None:
            raise UnfitError("wrong_type", "labels are not a list")
    if raw is None:
        return None
    if not all(isinstance(name, str | int) for name in raw):
        raise UnfitError("wrong_type", "labels are neither names nor numbers")
    return _checked({class_name(found, rules, mapped) for found in raw} - {""}, rules)


def _checked(found: set[str], rules: RowRules) -> list[str]:
    """Names of classes, sorted, once each is one that a row may have."""
    names = sorted(found)
    for name in names:
        check_name(name, rules)
    return names


def _numbers(labels: pa.ListArray, names: tuple[str, ...]) -> pa.ListArray:
    """Class numbers of lists of names, ascending as the names are; null where the list is."""
    numbers = label_indices(labels.flatten(), names)
    lengths = pc.fill_null(pc.list_value_length(labels), 0).to_numpy()
    offsets = [0, *lengths.cumsum().tolist()]
    item = pa.field("element", pa.int32(), nullable=False)
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), numbers, type=pa.list_(item), mask=pc.is_null(labels)
    )
