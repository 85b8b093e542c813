"""Floors for questions about a context: answers that need no reading.

    first_sentence    the context's first sentence, whatever is asked
    similar_sentence  the sentence that shares most words with the question
    random_span       some words of the context

Words as `tasks.metrics.scores.words`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import regex

from tasks.metrics.scores.words import word_places, words_of

_SENTENCE = regex.compile(r"[^。！？!?؟।\n]+?(?:[。！？!?؟।\n]+|\.(?=\s|$)|$)")
_MAX_RANDOM_WORDS = 5

Place = tuple[int, int]
"""First character of an answer in the context, and the one after the last."""


def sentences(text: str) -> list[Place]:
    """Where the sentences of a text are, without white space around them."""
    found = []
    for match in _SENTENCE.finditer(text):
        start, end = match.span()
        part = text[start:end]
        start, end = start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
        if start < end:
            found.append((start, end))
    return found


def first_sentence(question: str, context: str, rng: np.random.Generator) -> Place | None:
    """The first sentence."""
    del question, rng
    return next(iter(sentences(context)), None)


def similar_sentence(question: str, context: str, rng: np.random.Generator) -> Place | None:
    """The sentence with most of the question's words; the first of several."""
    del rng
    asked = set(words_of(question))
    return max(
        sentences(context),
        key=lambda place: len(asked & set(words_of(context[place[0] : place[1]]))),
        default=None,
    )


def random_span(question: str, context: str, rng: np.random.Generator) -> Place | None:
    """One to five neighbouring words."""
    del question
    places = word_places(context)
    if not places:
        return None
    length = int(rng.integers(1, _MAX_RANDOM_WORDS + 1))
    first = int(rng.integers(0, max(1, len(places) - length + 1)))
    return places[first][0], places[min(first + length, len(places)) - 1][1]


ANSWER_FLOORS: dict[str, Callable[[str, str, np.random.Generator], Place | None]] = {
    "similar_sentence": similar_sentence,
    "first_sentence": first_sentence,
    "random_span": random_span,
}
