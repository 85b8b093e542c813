"""Two texts and the class of their relation: paraphrase, entailment, an answer to a question.

A pair is one thing throughout: its hash is over both texts, so a text may stand in many pairs, and
a pair leaks only if both of its texts are an evaluation pair. That is what data sets of pairs are
made like (PAWS has each sentence in several); whoever must keep single texts apart splits them
before they are paired. Near leaks are found by shared n-grams, which do not see the order of words:
where pairs differ in nothing else (PAWS: a quarter of its training pairs), set
deduplication.leak_threshold to null.
"""

from __future__ import annotations

from typing import Any

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
    check_parallel,
    check_text,
    count_unknown,
    label_indices,
    normalized,
    prepared_label,
    text_cell,
    text_hash,
)
from tasks.corpus.tokenizers.encoding import readable_text
from tasks.corpus.tokens.pair_encoding import encode_pairs

pc: Any = pyarrow.compute


class PairRows(RowKind):
    """Rows of two texts, their class and perhaps both in another language."""

    corpus_contract = "corpus_matching"
    fields = (pa.field("text_b", pa.string()), pa.field("parallel_text_b", pa.string()))
    compared_columns = ("text", "text_b", "parallel_text", "parallel_text_b")
    training_columns = ("text_b", "parallel_text_b")

    def prepare(self, row: RawRow, rules: RowRules, changes: Changes) -> PreparedRow:
        """Normalise both texts, the label, and both parallel texts."""
        text = normalized(row.text, rules, changes.removed)
        text_b = normalized(text_cell(row, "text_b"), rules, changes.removed)
        label = prepared_label(row.label, rules, changes.mapped)
        check_text(text, rules.language, rules.filters)
        check_text(text_b, rules.language, rules.filters, what="text_b")
        hashed = text_hash(rules.language, text, text_b)
        if rules.parallel_language is None:
            return PreparedRow(text, hashed, label, extra=(text_b, None))
        parallel = normalized(row.parallel_text or "", rules, changes.removed)
        parallel_b = normalized(text_cell(row, "parallel_text_b"), rules, changes.removed)
        check_parallel(parallel, rules)
        check_parallel(parallel_b, rules, what="parallel text_b")
        parallel_hash = text_hash(rules.parallel_language, parallel, parallel_b)
        return PreparedRow(text, hashed, label, parallel, parallel_hash, extra=(text_b, parallel_b))

    def ledger_labels(self, piece: pa.Table) -> list[str | None] | np.ndarray:
        """Names of the classes."""
        return piece["label"].to_pylist()

    def compared(self, piece: pa.Table) -> tuple[list[str], list[str | None]]:
        """Both texts of a pair in one."""
        texts, texts_b, parallel, parallel_b = (
            piece[name].to_pylist() for name in self.compared_columns
        )
        return (
            [f"{a} {b}" for a, b in zip(texts, texts_b, strict=True)],
            [None if a is None else f"{a} {b}" for a, b in zip(parallel, parallel_b, strict=True)],
        )

    def training_texts(self, rows: pa.Table, languages: tuple[str, ...]) -> list[pa.Array]:
        """Either text of each pair."""
        return [texts.drop_null() for texts in _readable_pairs(rows, languages)[:2]]

    def tokens(self, rows: pa.Table, reading: Reading) -> Tokenized | None:
        """Each pair in the first language that the reader reads, and the number of its class."""
        firsts, seconds, languages = _readable_pairs(rows, reading.languages)
        read = pc.is_valid(firsts)
        firsts, seconds = firsts.filter(read), seconds.filter(read)
        encoded = encode_pairs(
            reading.tokenizer,
            firsts,
            seconds,
            max_length_tokens=reading.max_length_tokens,
            workers=reading.workers,
        )
        kept = pc.list_value_length(encoded.input_ids).to_numpy()
        return Tokenized(
            {
                "example_id": rows["example_id"].filter(read),
                "input_ids": encoded.input_ids,
                "label": label_indices(rows["label"].filter(read), reading.labels),
                "language": languages.filter(read),
            },
            texts=pc.binary_join_element_wise(firsts, seconds, " "),
            lengths=encoded.lengths,
            num_truncated=int((encoded.lengths > kept).sum()),
            num_special=encoded.num_special,
            num_unknown=count_unknown(reading.tokenizer, encoded.input_ids),
        )


def _readable_pairs(
    rows: pa.Table, languages: tuple[str, ...]
) -> tuple[pa.Array, pa.Array, pa.Array]:
    """First texts, second texts and languages; null where the reader reads neither side."""
    texts, tags = readable_text(rows, languages)
    other = rows.drop_columns(["text", "parallel_text"])
    names = {"text_b": "text", "parallel_text_b": "parallel_text"}
    other = other.rename_columns([names.get(name, name) for name in other.column_names])
    # Both texts of a side are in one language, so the same side is taken of both.
    return texts, readable_text(other, languages)[0], tags
