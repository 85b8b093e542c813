"""The similarity index against a comparison of all pairs."""

import random

import pytest

from tasks.corpus.selection.deduplication import jaccard, shingles
from tasks.corpus.text.ngrams import grams_of
from tasks.corpus.text.similarity import SimilarityIndex

WORDS = "turn on off the my kitchen bedroom lights lamp please to of fifty percent now"


def _texts(count):
    rng = random.Random(2)
    words = WORDS.split()
    base = [" ".join(rng.choices(words, k=rng.randint(6, 14))) for _ in range(count // 2)]
    typos = []
    for text in base:
        position = rng.randrange(len(text))
        typos.append(text[:position] + rng.choice("xyz") + text[position + 1 :])
    return base + typos


@pytest.mark.parametrize("threshold", [0.55, 0.7, 0.8, 0.9, 1.0])
def test_the_index_finds_what_comparing_all_pairs_finds(threshold):
    """Near copies slipped through the filter, and the test score was memory."""
    texts = _texts(400)
    inside, asked = texts[:200], texts[200:]
    index = SimilarityIndex(range(200), inside, threshold)
    sets = [shingles(text) for text in inside]
    for text, found in zip(asked, index.find(grams_of(asked)), strict=True):
        scores = [jaccard(shingles(text), other) for other in sets]
        best = max(scores)
        if best >= threshold:
            assert found == (scores.index(best), best)
        else:
            assert found is None


def test_of_equally_similar_texts_the_lowest_number_is_named():
    """A report that names another row each time the batch size changes."""
    index = SimilarityIndex([9, 4, 7], ["turn on the light"] * 3, 0.9)
    assert index.find(grams_of(["Turn on the light!", "something else"])) == [(4, 1.0), None]


def test_an_empty_index_finds_nothing():
    """A language without validation rows ended in an index error."""
    assert SimilarityIndex([], [], 0.9).find(grams_of(["a"])) == [None]


def test_many_candidates_are_judged_in_blocks(monkeypatch):
    """A thousand wordings of one template asked for gigabytes at once."""
    texts = _texts(120)
    whole = SimilarityIndex(range(60), texts[:60], 0.6).find(grams_of(texts[60:]))
    monkeypatch.setattr("tasks.corpus.text.similarity._PAIRS_AT_ONCE", 3)
    assert SimilarityIndex(range(60), texts[:60], 0.6).find(grams_of(texts[60:])) == whole
