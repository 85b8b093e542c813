"""What a source may say by `expand`: the rows that are made of each row of its files.

    halves             a text                         its two halves
    answer_sentences   question, context, answers     the question with two sentences of the context

A row that is made has the line of the row it is made of; it is judged, counted and set aside by
itself. `where` and `max_rows` choose among the rows of the file. How:
`tasks.corpus.preparation.expanded_rows`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tasks.corpus.sources.columns import ProblemType
    from tasks.corpus.sources.source import FileSource, Source

Expansion = Literal["halves", "answer_sentences"]
YES, NO = "yes", "no"
"""Labels of the pairs that answer_sentences makes."""

_CLASSIFIED = ("text_classification", "multilabel_classification")


def check_expansion(problem: ProblemType, source: FileSource) -> None:
    """Refuse an expansion that the problem does not have, and columns that it cannot keep true.

    Raises: ValueError.
    """
    if source.expand is None:
        if problem == "matching" and source.columns.answers is not None:
            raise ValueError(
                f"source {source.name!r} names columns.answers, but pairs have a label: name "
                "columns.label, or set expand: answer_sentences, which makes pairs of answers"
            )
        return
    has = f"source {source.name!r} has expand: {source.expand}"
    if source.label_names:
        raise ValueError(
            f"{has} and label_names, but no label of what it makes is a number of the file: take "
            "label_names out"
        )
    if source.parallel_language is not None:
        raise ValueError(
            f"{has} and parallel text, but what is made of a text is said nowhere in another "
            "language: take one of them out"
        )
    if source.expand == "answer_sentences":
        _check_answer_sentences(problem, source, has)
    else:
        _check_halves(problem, source, has)


def _check_answer_sentences(problem: ProblemType, source: FileSource, has: str) -> None:
    if problem != "matching":
        raise ValueError(f"{has}, but {problem} reads no pairs: take it out (it is of matching)")
    if source.role == "adapt":
        raise ValueError(
            f"{has} but the role adapt, of which whole texts are read: take expand out"
        )
    if source.columns.label is not None:
        raise ValueError(
            f"{has} and columns.label, but its pairs have the labels yes and no, by "
            "columns.answers: take columns.label out"
        )


def _check_halves(problem: ProblemType, source: FileSource, has: str) -> None:
    if problem not in _CLASSIFIED or source.columns.words is not None:
        raise ValueError(
            f"{has}, but {problem} reads more of a row than a text: take it out (it is of "
            f"{' and '.join(_CLASSIFIED)}, without columns.words)"
        )
    if source.role not in ("transfer", "adapt"):
        raise ValueError(
            f"{has} but the role {source.role}: what is true of a text need not be of its halves, "
            "so they are for transfer and adapt alone"
        )
    if annotations := source.columns.annotations:
        raise ValueError(
            f"{has} and columns.{annotations[0]}, but what is true of a text need not be of its "
            "halves: take the column out"
        )


def check_not_cut(sources: Sequence[Source], languages: Iterable[str]) -> None:
    """Refuse pairs of answers that evaluation rows would be cut from.

    They are cut row by row: whoever learned that one sentence answers a question would be tested on
    whether another one does.

    Args:
        languages: those of the texts that are validated and tested.

    Raises: ValueError.
    """
    for source in sources:
        made = getattr(source, "expand", None) == "answer_sentences"
        if not made or source.language not in languages or source.role not in ("train", "transfer"):
            continue
        given = {one.role for one in sources if one.language == source.language}
        if missing := [role for role in ("validation", "test") if role not in given]:
            raise ValueError(
                f"source {source.name!r} has expand: answer_sentences, but no source has the role "
                f"{missing[0]} in {source.language!r}, and rows cut for it would share questions "
                "with those that are learned: add such a source, of other questions"
            )
