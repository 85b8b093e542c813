"""A sentence and its meaning in the teacher's language, or two sentences and how alike they are.

    train, transfer            text, perhaps parallel_text     what students learn from
    validation, test           text, parallel_text             is each found by the other?
    test                       text, text_b, score             does similarity follow people's?

No row has a label: the teacher's embedding of a sentence is what its translation is to be given. A
sentence may have several translations, each in a row of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute

from tasks.corpus.changes import Changes
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.kind import (
    PreparedRow,
    RowKind,
    RowRules,
    UnfitError,
    check_parallel,
    check_text,
    normalized,
    text_cell,
    text_hash,
)

if TYPE_CHECKING:
    from tasks.corpus.sources.source import Source

pc: Any = pyarrow.compute

_EVALUABLE = 0  # code of an annotation: rows are not compared by it


class SentenceRows(RowKind):
    """Rows of a sentence with its meaning in another language, or with a second one and a score."""

    corpus_contract = "corpus_sentence_embedding"
    fields = (pa.field("text_b", pa.string()), pa.field("score", pa.float64()))
    pairs_count = True
    classes_needed = 0
    compared_columns = ("text", "parallel_text", "text_b")
    teachers_learn = False

    def prepare(self, row: RawRow, rules: RowRules, changes: Changes) -> PreparedRow:
        """Normalise the sentence and what stands beside it."""
        text = normalized(row.text, rules, changes.removed)
        check_text(text, rules.language, rules.filters)
        hashed = text_hash(rules.language, text)
        if rules.parallel_language is not None:
            parallel = normalized(row.parallel_text or "", rules, changes.removed)
            check_parallel(parallel, rules)
            return PreparedRow(
                text,
                hashed,
                parallel_text=parallel,
                parallel_hash=text_hash(rules.parallel_language, parallel),
                annotation=_EVALUABLE,
                extra=(None, None),
            )
        if "score" not in row.others:
            return PreparedRow(text, hashed, extra=(None, None))
        text_b = normalized(text_cell(row, "text_b"), rules, changes.removed)
        check_text(text_b, rules.language, rules.filters, what="text_b")
        return PreparedRow(
            text,
            hashed,
            parallel_hash=text_hash(rules.language, text_b),
            extra=(text_b, _score(row)),
        )

    def compared(self, piece: pa.Table) -> tuple[list[str], list[str | None]]:
        """The sentence, and what stands beside it: its meaning, or the one it was compared with."""
        beside = pc.coalesce(piece["parallel_text"], piece["text_b"])
        return piece["text"].to_pylist(), beside.to_pylist()

    def second_language(self, source: Source, target_language: str) -> str | None:
        """That of the parallel text; two sentences that were compared are in one language."""
        return source.parallel_language or source.language

    def evaluated_languages(self, source_language: str, target_language: str) -> tuple[str, ...]:
        """The student's: the sentences of the teacher's language stand beside them."""
        return (target_language,)

    def class_labels(self, names: Sequence[str]) -> list[str]:
        """None: what is learnt are vectors."""
        return []


def _score(row: RawRow) -> float:
    """The row's score as a finite number, also where a file has it as text."""
    given = row.others["score"]
    if given is None:
        raise UnfitError("missing_label", "no score")
    try:
        score = float(given)
    except (ValueError, OverflowError):  # a whole number of 400 digits is no float
        score = math.nan
    if not math.isfinite(score):
        raise UnfitError("wrong_type", "the score is no finite number")
    return score
