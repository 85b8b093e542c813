"""Variety, repetition and length by hand."""

import pytest

from tasks.metrics.scores.generation import EXACT_MATCH, MEASURES, exact_matches, text_statistics
from tasks.metrics.statistics import scores_of


def test_figures_by_hand():
    """A model that always says `I don't know` has a fair BLEU and nothing to say."""
    texts = ["好的好的", "a b a b a b"]
    found = scores_of(text_statistics(texts, ["好的", "a b c"]), MEASURES)
    # Words: 好 的 好 的 | a b a b a b: 4 kinds of 10.
    assert found["distinct_1"] == pytest.approx(4 / 10)
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
    assert found == {"distinct_1": 0.0, "distinct_2": 0.0, "repetition": 0.0, "length_ratio": 0.0}


def test_references_without_a_word_have_no_length_to_share():
    """`ok` where 👍 was right: a million million times the reference's length, in every table."""
    found = scores_of(text_statistics(["ok"], ["👍"]), MEASURES)
    assert found["length_ratio"] == 0.0
    one_word = scores_of(text_statistics(["a b c"], ["ok"]), MEASURES)
    assert one_word["length_ratio"] == 3
    mixed = scores_of(text_statistics(["ok", "a b c"], ["👍", "a b"]), MEASURES)
    assert mixed["length_ratio"] == pytest.approx(4 / 2)


def test_a_reply_is_exact_but_for_case_and_spaces():
    """`好的，已打开` for `好的，已关闭`: two thirds of it are alike, and the light burns."""
    texts = ["好的， 已关闭", "Timer Paused", "好的，已打开", "", "好"]
    references = ["好的，已关闭", "timer paused", "好的，已关闭", "好的", "好的"]
    statistics = {"exact_match": exact_matches(texts, references)}
    assert scores_of(statistics, [EXACT_MATCH]) == {"exact_match": pytest.approx(2 / 5)}
