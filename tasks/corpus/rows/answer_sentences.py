"""A question, a context and its answers -> the question beside two sentences of the context.

    labelled roles    the sentence that holds the first answer       yes
                      another one, without any answer                no
                      where the context holds no answer, the sentence most like the question, a no
    transfer          the sentence most like the question, and another one; labelled only where the
                      source names answers, which have no say in which sentences are taken (a row
                      whose answers are broken is set aside)

Does the sentence answer the question: as QNLI was made from SQuAD (Wang et al. 2019,
arXiv:1804.07461, section 3.1). Likeness is the number of different characters that both have, of
equal ones the last sentence; it needs no words. "Another" is drawn by question and context, so that
a row gives the same pairs in every run and process. A context of one sentence gives one pair.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tasks.corpus.readers.nested_values import as_records
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.answers import answer_places
from tasks.corpus.rows.kind import UnfitError, text_cell
from tasks.corpus.sources.expansion import NO, YES
from tasks.corpus.text.sentences import Place, sentences

if TYPE_CHECKING:
    from tasks.corpus.rows.kind import RowRules

_MIN_OTHER_CHARACTERS = 15  # a heading or a list's number says nothing, and is told at a glance


def answer_sentences(row: RawRow, rules: RowRules, mended: Counter[str]) -> list[RawRow]:
    """The pairs of a row whose `text` is a question and whose `text_b` is a context.

    Args:
        mended: as of `answer_places`.

    Raises: UnfitError if a labelled row has no answers, or none where it should be.
    """
    context = text_cell(row, "text_b")
    places = sentences(context)
    if not places:
        raise UnfitError("empty_text", "text_b: a context without sentences")
    cell = row.others.get("answers")
    answers = answer_places(cell, context, mended)
    if answers is None and rules.needs_label:
        raise UnfitError("missing_label", "no answers: not even an empty list")
    chosen = _alike(row.text, context, places)
    if rules.needs_label and answers:
        chosen = _holder(places, answers[0])
    # Also of answers that stand in several places, so that nobody knows which is meant.
    texts = {text for (text,) in as_records(cell, ("text",)) or ()}
    others = [
        place
        for place in places
        if place != chosen
        and place[1] - place[0] >= _MIN_OTHER_CHARACTERS
        and not (rules.needs_label and _has_answer(context, place, answers or (), texts))
    ]
    taken = [chosen]
    if others and (answers or not rules.needs_label):
        draw = random.Random(f"{row.text}\x1f{context}")  # not by hash(), which differs by process
        taken.append(draw.choice(others))
    return [_pair(row, context, place, answers, texts) for place in taken]


def _alike(question: str, context: str, places: Sequence[Place]) -> Place:
    """The sentence that shares most characters with the question, each once."""
    asked = set(question)
    shared = [len(asked.intersection(context[start:end])) for start, end in places]
    return places[max(range(len(places)), key=lambda n: (shared[n], n))]


def _holder(places: Sequence[Place], answer: Place) -> Place:
    """The sentence in which the answer begins; an answer may go on behind its end."""
    return next((place for place in places if answer[0] < place[1]), places[-1])


def _has_answer(
    context: str, place: Place, answers: Sequence[Place], texts: Collection[str]
) -> bool:
    """Whether an answer lies in the sentence, in part, or stands there once more."""
    start, end = place
    return any(first < end and last > start for first, last in answers) or any(
        text in context[start:end] for text in texts
    )


def _pair(
    row: RawRow,
    context: str,
    place: Place,
    answers: Sequence[Place] | None,
    texts: Collection[str],
) -> RawRow:
    label = None
    if answers is not None:
        label = YES if _has_answer(context, place, answers, texts) else NO
    others = {name: cell for name, cell in row.others.items() if name != "answers"}
    return RawRow(row.text, label, None, {**others, "text_b": context[place[0] : place[1]]})
