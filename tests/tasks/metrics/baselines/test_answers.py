"""Answers that need no reading."""

import numpy as np
import pytest

from tasks.metrics.baselines.answers import (
    ANSWER_FLOORS,
    first_sentence,
    random_span,
    sentences,
    similar_sentence,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("客厅在一楼。厨房在二楼！车库呢？", ["客厅在一楼。", "厨房在二楼！", "车库呢？"]),
        ("Pi is 3.14. It is! Really?", ["Pi is 3.14.", "It is!", "Really?"]),
        ("no end", ["no end"]),
        ("  \n ", []),
    ],
)
def test_sentences_by_hand(text, parts):
    """A number cut at its point makes half a sentence of an answer."""
    assert [text[start:end] for start, end in sentences(text)] == parts


def test_the_sentence_of_the_question_is_found():
    """A floor that ignores the question cannot show that the question is what matters."""
    context = "客厅在一楼。厨房在二楼。"
    assert similar_sentence("厨房在哪里？", context, RNG) == (6, 12)
    assert first_sentence("厨房在哪里？", context, RNG) == (0, 6)


@pytest.mark.parametrize("name", ANSWER_FLOORS)
def test_answers_are_places_in_the_context(name):
    """A place outside the context is an empty answer, which may be right by accident."""
    for context in ("Der Zug fährt um 8 Uhr ab.", "火车八点开", "x"):
        for _ in range(20):
            start, end = ANSWER_FLOORS[name]("Wann?", context, RNG)
            assert 0 <= start < end <= len(context)
    assert ANSWER_FLOORS[name]("Wann?", " ", RNG) is None


def test_random_answers_differ():
    """The same word every time is not a floor but a guess."""
    context = "ein Satz aus vielen verschiedenen Wörtern in einer Reihe"
    assert len({random_span("", context, RNG) for _ in range(30)}) > 10


@pytest.mark.parametrize("context", ["とうきょうのタワーはとてもたかい", "แมวนอนอยู่บนหลังคาบ้าน"])
def test_random_words_are_not_whole_sentences_in_any_script(context):
    """Kana and Thai have no spaces either: the floor gave the context back, every time."""
    places = [random_span("", context, np.random.default_rng(seed)) for seed in range(30)]
    assert len(set(places)) > 10
    # Five characters at most; in Thai each with its marks.
    assert max(end - start for start, end in places) <= 10
