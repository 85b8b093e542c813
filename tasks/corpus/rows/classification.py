"""A text and its class: the plain kind, whose tokens `tasks.corpus.tokens.shards` makes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tasks.corpus.changes import Changes
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.kind import (
    PreparedRow,
    RowKind,
    RowRules,
    check_parallel,
    check_text,
    normalized,
    prepared_label,
    text_hash,
)


class ClassifiedRows(RowKind):
    """Rows of a text, its class and perhaps its meaning in another language."""

    def ledger_labels(self, piece: pa.Table) -> list[str | None] | np.ndarray:
        """Names of the classes."""
        return piece["label"].to_pylist()

    def prepare(self, row: RawRow, rules: RowRules, changes: Changes) -> PreparedRow:
        """Normalise text, label and parallel text."""
        text = normalized(row.text, rules, changes.removed)
        label = prepared_label(row.label, rules, changes.mapped)
        check_text(text, rules.language, rules.filters)
        hashed = text_hash(rules.language, text)
        if rules.parallel_language is None:
            return PreparedRow(text, hashed, label)
        parallel = normalized(row.parallel_text or "", rules, changes.removed)
        check_parallel(parallel, rules)
        parallel_hash = text_hash(rules.parallel_language, parallel)
        return PreparedRow(text, hashed, label, parallel, parallel_hash)
