"""The answers to a question as files have them -> their places in the context.

An offset that does not lead to its answer is mended if the answer stands in the context exactly
once.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from tasks.corpus.readers.nested_values import as_records
from tasks.corpus.rows.kind import UnfitError
from tasks.corpus.text.sentences import Place


def answer_places(cell: Any, context: str, mended: Counter[str]) -> list[Place] | None:
    """Where the answers of `cell` are in the raw `context`; None if nobody has looked.

    Args:
        mended: counts answers that stood elsewhere, and those that stand nowhere.

    Raises: UnfitError if the cell holds no such records, or none of them is in the context.
    """
    if cell is None:
        return None
    records = as_records(cell, ("text", "answer_start"))
    if records is None or not all(
        isinstance(text, str) and type(start) is int for text, start in records
    ):
        raise UnfitError("malformed_answers", "answers are not records of text and answer_start")
    places: list[Place] = []
    for text, start in records:
        if not text.strip():
            raise UnfitError("empty_span", "an answer is an empty text; no answer is an empty list")
        place = _place(context, text, start)
        if place is None:
            mended["dropped_answers"] += 1
            continue
        mended["repaired_answers"] += place[0] != start
        places.append(place)
    if records and not places:
        raise UnfitError("answer_not_found", f"{len(records)} answers, none where it should be")
    return places


def _place(context: str, answer: str, start: int) -> Place | None:
    if start >= 0 and context.startswith(answer, start):
        return start, start + len(answer)
    first = context.find(answer)
    if first < 0 or context.find(answer, first + 1) >= 0:
        return None
    return first, first + len(answer)
