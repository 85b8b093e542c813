"""Copies, contradictions and near-duplicates, against naive loops."""

import random

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

WORDS = "turn on off the my kitchen bedroom lights lamp please to of fifty percent now"


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


def _texts(count):
    rng = random.Random(2)
    words = WORDS.split()
    base = [" ".join(rng.choices(words, k=rng.randint(6, 14))) for _ in range(count // 2)]
    typos = []
    for text in base:
        position = rng.randrange(len(text))
        typos.append(text[:position] + rng.choice("xyz") + text[position + 1 :])
    return base + typos


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.9, 1.0])
def test_the_index_finds_what_comparing_all_pairs_finds(threshold):
    """Near copies slipped through the bands, and the test score was memory."""
    texts = _texts(400)
    inside, asked = texts[:200], texts[200:]
    index = NearDuplicateIndex(threshold)
    index.add(range(200), sign(inside, threshold))
    sets = [shingles(text) for text in inside]
    for text, found in zip(asked, index.find(sign(asked, threshold)), strict=True):
        scores = [jaccard(shingles(text), other) for other in sets]
        best = max(scores)
        if best >= threshold:
            assert found == (scores.index(best), best)
        else:
            assert found is None


def test_the_first_of_a_group_stays():
    """A chain of near copies removed all of its members."""
    texts = ["turn on the kitchen light", "turn on the kitchen lights", "open the garage door"]
    found = NearDuplicateIndex(0.9).find_or_add([5, 6, 7], sign(texts, 0.9))
    assert found[0] is None
    assert found[1] is not None
    assert found[1][0] == 5
    assert found[2] is None
