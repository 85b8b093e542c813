"""The sentences of a context that a question is most likely about, for contexts nobody answered.

    context    s1 s2 s3 s4 s5        a window begins at each sentence and goes on while it fits:
    windows    s1 s2 s3 | s2 s3 | s3 s4 s5 | s4 s5 | s5
    kept       the one that shares most pairs of neighbouring characters with the question,
               each pair once, case aside; of equal ones the first

A reader learns from more questions in the same time if of each context it reads a third. Pairs of
characters need no words: they are found in every script. A sentence that is longer than the limit
by itself is a window by itself, whole; a text within the limit stays as it is.

Where sentences end: `tasks.corpus.text.sentences`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tasks.corpus.text.sentences import Place, sentences

if TYPE_CHECKING:
    from tasks.corpus.sources.columns import ProblemType
    from tasks.corpus.sources.source import FileSource


def check_focus(problem: ProblemType, source: FileSource) -> None:
    """Refuse a limit where no context could be cut, or an answer could be lost.

    Raises: ValueError.
    """
    if source.focus_characters is None:
        return
    if problem != "question_answering":
        raise ValueError(
            f"source {source.name!r} has focus_characters, but {problem} asks no question of a "
            "text: take it out (it is of question_answering)"
        )
    if source.role != "transfer":
        raise ValueError(
            f"source {source.name!r} has focus_characters but the role {source.role}: contexts are "
            "cut of transfer rows only, which have no answers: take it out"
        )
    if source.columns.answers is not None:
        raise ValueError(
            f"source {source.name!r} has focus_characters and columns.answers, but an answer may "
            "lie outside of what is kept of its context: take one of them out"
        )


def focused(text: str, question: str, limit: int) -> str:
    """The sentences of `text` that `question` is about, of `limit` characters: see the module."""
    if len(text) <= limit:
        return text
    places = sentences(text)
    if not places:
        return text
    folded, folded_places = _folded(text, places)
    asked = _pairs(question.casefold())
    hits = [(at, pair) for at in range(len(folded) - 1) if (pair := folded[at : at + 2]) in asked]
    held: Counter[str] = Counter()  # pairs of the window, by how often they are there
    last = entered = left = 0
    best, most = (0, 0), -1
    for first, (start, _) in enumerate(places):
        last = max(last, first)
        while last + 1 < len(places) and places[last + 1][1] - start <= limit:
            last += 1
        while entered < len(hits) and hits[entered][0] + 2 <= folded_places[last][1]:
            held[hits[entered][1]] += 1
            entered += 1
        while left < entered and hits[left][0] < folded_places[first][0]:
            pair = hits[left][1]
            held[pair] -= 1
            if not held[pair]:
                del held[pair]
            left += 1
        if len(held) > most:
            best, most = (first, last), len(held)
    return text[places[best[0]][0] : places[best[1]][1]]


def _folded(text: str, places: list[Place]) -> tuple[str, list[Place]]:
    """`text` without case, which may have more characters, and `places` in it."""
    parts: list[str] = []
    moved: list[Place] = []
    length = before = 0
    for start, end in places:
        gap, sentence = text[before:start].casefold(), text[start:end].casefold()
        parts += gap, sentence
        moved.append((length + len(gap), length + len(gap) + len(sentence)))
        length, before = moved[-1][1], end
    return "".join(parts), moved


def _pairs(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(len(text) - 1)}
