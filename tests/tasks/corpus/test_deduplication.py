"""Copies, contradictions and near-duplicates, against naive loops."""

import numpy as np
import pytest

from tasks.corpus.deduplication import (
    NearDuplicateIndex,
    contradictions,
    copies,
    jaccard,
    shingles,
    sign,
)


def test_copies_are_all_but_the_first():
    """Both of two equal rows were dropped, or the later one stayed and line numbers jumped."""
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 50, 200).astype(np.uint64)
    seen, expected = set(), []
    for key in keys.tolist():
        expected.append(key in seen)
        seen.add(key)
    assert copies(keys).tolist() == expected


def test_contradictions_are_all_rows_of_a_text_with_two_labels():
    """The first of two labels won, so the file's order decided what was right."""
    rng = np.random.default_rng(1)
    texts = rng.integers(0, 60, 300).astype(np.uint64)
    labels = rng.integers(-1, 2, 300)
    expected = [
        label >= 0
        and len({other for t, other in zip(texts, labels, strict=True) if t == text and other >= 0})
        > 1
        for text, label in zip(texts, labels, strict=True)
    ]
    assert contradictions(texts, labels).tolist() == expected
    assert any(expected)
    assert not all(expected)


def test_shingles_ignore_case_width_and_punctuation():
    """`Turn on the TV!` in training and `turn on the tv` in the test passed as different."""
    assert shingles("Turn on the TV!") == shingles("turn on, the ＴＶ")
    assert shingles("打开灯") == {"打开", "开灯"}
    assert shingles("abcd") == {"abc", "bcd"}
    assert shingles("hi") == {"hi"}
    assert shingles("👍") != shingles("👎")


def test_the_first_of_a_group_stays():
    """A chain of near copies removed all of its members."""
    texts = ["turn on the kitchen light", "turn on the kitchen lights", "open the garage door"]
    found = NearDuplicateIndex(0.9).find_or_add([5, 6, 7], sign(texts, 0.9))
    assert found[0] is None
    assert found[1] is not None
    assert found[1][0] == 5
    assert found[2] is None


@pytest.mark.parametrize(
    ("second_texts", "near"),
    [
        (["Where was he born?", "When did he leave?"], False),
        (["Where was he born?", "where was he, born"], True),
        ([None, None], True),
        ([None, "When did he leave?"], True),  # all texts together decide
    ],
)
def test_rows_of_two_texts_are_near_only_if_the_second_ones_are(second_texts, near):
    """Of five questions of a paragraph one was kept: most n-grams are the paragraph's."""
    rng = np.random.default_rng(3)
    paragraph = "".join(rng.choice(list("abcdefghijklmnopqrstuvw "), 900))
    texts = [f"{paragraph} {second or ''}" for second in second_texts]
    assert jaccard(*map(shingles, texts)) > 0.95
    signed = sign(texts, 0.9, second_texts=second_texts)
    first, second = NearDuplicateIndex(0.9).find_or_add([0, 1], signed)
    assert first is None
    assert (second is not None) == near
