"""Which of the teacher's texts a student learns."""

import pytest

from tasks.training.sequences.targets import closest_hypothesis


@pytest.mark.parametrize("similarity", ["bleu", "chrf"])
def test_the_text_most_like_the_gold_one_is_chosen(similarity):
    """A Chinese text taken for one word: every hypothesis scores nothing, the first is taken."""
    hypotheses = ["他昨天去了学校。", "我喜欢在家里读书。", "我喜欢看书。"]
    chosen = closest_hypothesis(
        hypotheses, "我喜欢在家读书。", similarity=similarity, language="zh"
    )
    assert chosen == 1


def test_among_equals_the_teachers_favourite_is_kept():
    assert closest_hypothesis(["好。", "好。"], "好。", similarity="chrf", language="zh") == 0
    assert closest_hypothesis(["a b", "c d"], "x y", similarity="bleu", language="en") == 0


def test_words_decide_where_there_are_words():
    hypotheses = ["the cat sat on a mat", "a dog ran"]
    assert (
        closest_hypothesis(hypotheses, "a dog ran away", similarity="bleu", language="en-GB") == 1
    )


def test_no_hypothesis_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        closest_hypothesis([], "gold", similarity="chrf", language="en")
