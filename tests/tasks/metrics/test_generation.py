"""Variety, repetition and length by hand."""

import pytest

from tasks.metrics.generation import MEASURES, text_statistics
from tasks.metrics.statistics import scores_of


def test_figures_by_hand():
    """A model that always says `I don't know` has a fair BLEU and nothing to say."""
    texts = ["好的好的", "a b a b a b"]
    found = scores_of(text_statistics(texts, ["好的", "a b c"]), MEASURES)
    # Pairs: 好的 的好 好的 | ab ba ab ba ab: 4 kinds of 8.
    assert found["distinct_2"] == pytest.approx(4 / 8)
    # 4-grams: 好的好的 | abab baba abab: one of four repeats.
    assert found["repetition"] == pytest.approx(1 / 4)
    assert found["length_ratio"] == pytest.approx((4 + 6) / (2 + 3))


def test_distinct_counts_over_the_whole_test_set():
    """Each answer alone may be varied and yet the same for every question."""
    found = scores_of(text_statistics(["yes of course"] * 5, [""] * 5), MEASURES)
    assert found["distinct_2"] == pytest.approx(2 / 10)
    assert found["repetition"] == 0


def test_empty_texts_have_figures():
    """Division by no words at all."""
    found = scores_of(text_statistics([""], ["北京"]), MEASURES)
    assert found == {"distinct_2": 0.0, "repetition": 0.0, "length_ratio": 0.0}
