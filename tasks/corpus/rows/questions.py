"""A question and a context that may hold its answer, as in SQuAD.

The context is what must not leak: questions about one paragraph belong into one role, so the text's
hash is that of the context, and a question makes another row of it. Where nobody has answered, a
context may be cut to the sentences that its question is about (`tasks.corpus.text.context_focus`).
Offsets count code points; one that does not lead to its answer is mended if the answer stands in
the context exactly once.

A reader whose length a context exceeds reads it in windows, each behind the question (Devlin et
al. 2019, arXiv:1810.04805, section 4.2): see `tasks.corpus.tokens.window_encoding`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.corpus.changes import Changes
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.answers import answer_places
from tasks.corpus.rows.character_spans import normalize_with_places
from tasks.corpus.rows.kind import (
    PreparedRow,
    Reading,
    RowKind,
    RowRules,
    Tokenized,
    UnfitError,
    check_text,
    normalized,
    question_limit,
    text_cell,
    text_hash,
)
from tasks.corpus.text.context_focus import focused
from tasks.corpus.tokenizers.encoding import readable_text

if TYPE_CHECKING:
    from tasks.corpus.sources.source import Source

_LABELLED = 0  # code of an annotation: rows are not compared by it


class QuestionRows(RowKind):
    """Rows of a context, a question and the answers that readers found."""

    corpus_contract = "corpus_question_answering"
    tokens_contract = "tokens_question_answering"
    fields = (
        pa.field("question", pa.string()),
        pa.field("answer_starts", pa.list_(pa.int32())),
        pa.field("answer_texts", pa.list_(pa.string())),
    )
    repairs = ("repaired_answers", "dropped_answers")
    pairs_count = True
    classes_needed = 0
    compared_columns = ("text", "question")
    training_columns = ("question",)

    def prepare(self, row: RawRow, rules: RowRules, changes: Changes) -> PreparedRow:
        """Normalise context and question, and move the answers along."""
        question = normalized(text_cell(row, "question"), rules, changes.removed)
        if not question:
            raise UnfitError("missing_question", "no question")
        check_text(question, rules.language, rules.filters, what="question")
        mended: Counter[str] = Counter()
        found = answer_places(row.others.get("answers"), row.text, mended)
        if found is None and rules.needs_label:
            raise UnfitError("missing_label", "no answers: not even an empty list")
        text, places = normalize_with_places(row.text, found or (), rules, changes.removed)
        if rules.focus_characters is not None:
            text = focused(text, question, rules.focus_characters)
        check_text(text, rules.language, rules.filters)
        places = list(dict.fromkeys(place for place in places if place[0] < place[1]))
        if found and not places:
            raise UnfitError("empty_span", "nothing visible is left of the answers")
        answers: tuple[Any, Any] = (None, None)
        if found is not None:
            answers = [start for start, _ in places], [text[start:end] for start, end in places]
        changes.repaired.update(mended)
        return PreparedRow(
            text,
            text_hash(rules.language, text),
            parallel_hash=text_hash(rules.language, text, question),
            annotation=-1 if found is None else _LABELLED,
            extra=(question, *answers),
        )

    def compared(self, piece: pa.Table) -> tuple[list[str], list[str | None]]:
        """Contexts and questions."""
        return piece["text"].to_pylist(), piece["question"].to_pylist()

    def second_language(self, source: Source, target_language: str) -> str | None:
        """None: a question may be asked of many contexts."""
        return None

    def class_labels(self, names: Sequence[str]) -> list[str]:
        """The two logits of a unit."""
        return ["start", "end"]

    def training_texts(self, rows: pa.Table, languages: tuple[str, ...]) -> list[pa.Array]:
        """Contexts and questions."""
        questions = rows.drop_columns("text").rename_columns({"question": "text"})
        return [readable_text(table, languages)[0].drop_null() for table in (rows, questions)]

    def token_facts(self, reading: Reading) -> dict[str, int]:
        """How questions and contexts share a window; a stride of 0 is half of what is left."""
        return {
            "max_question_tokens": question_limit(reading),
            "window_stride_tokens": reading.window_stride_tokens or 0,
        }

    def tokens(self, rows: pa.Table, reading: Reading) -> Tokenized | None:
        """A row for each window over each context."""
        from tasks.corpus.tokens.window_encoding import encode_windows

        return encode_windows(rows, reading)
