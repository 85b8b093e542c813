"""Ranks against sorting by hand."""

import numpy as np
import pytest

from tasks.metrics.scores import retrieval
from tasks.metrics.scores.retrieval import (
    MEASURES,
    TO_SOURCE,
    TO_TARGET,
    WITHIN,
    alike,
    both_ways_of_sentences,
    both_ways_statistics,
    nearest,
    partner_ranks,
    retrieval_scores,
    retrieval_statistics,
)
from tasks.metrics.statistics import scores_of


def test_ranks_are_those_of_a_naive_sort(monkeypatch):
    """A chunk whose partners are counted from its own start finds other texts' partners."""
    rng = np.random.default_rng(0)
    queries, candidates = rng.normal(size=(23, 6)), rng.normal(size=(31, 6))
    partners = rng.integers(0, 31, 23)
    monkeypatch.setattr(retrieval, "_CHUNK_SIMILARITIES", 100)
    ranks = partner_ranks(queries * 7, candidates, partners)
    for i, rank in enumerate(ranks):
        cosines = [
            queries[i] @ one / np.linalg.norm(queries[i]) / np.linalg.norm(one)
            for one in candidates
        ]
        assert rank == 1 + sum(one > cosines[partners[i]] for one in cosines)
    scores = scores_of(retrieval_statistics(ranks), MEASURES)
    assert scores["accuracy_at_1"] == pytest.approx(np.mean(ranks == 1))
    assert scores["mrr"] == pytest.approx(np.mean([1 / rank for rank in ranks]))


def test_embeddings_that_are_all_alike_find_nothing():
    """A collapsed model would otherwise retrieve perfectly."""
    alike = np.ones((5, 3))
    assert partner_ranks(alike, alike).tolist() == [5] * 5


def test_zero_vectors_and_missing_partners_are_refused():
    """NaN similarities compare as false: the rank would be 0."""
    with pytest.raises(ValueError, match="length 0"):
        partner_ranks(np.zeros((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="3 queries"):
        partner_ranks(np.ones((3, 2)), np.ones((2, 2)))


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_no_numbers_are_refused(broken):
    """Nothing compares as nearer than NaN: a broken int8 form would find every translation."""
    vectors = np.eye(3)
    vectors[1, 2] = broken
    for queries, candidates in ((vectors, np.eye(3)), (np.eye(3), vectors)):
        with pytest.raises(ValueError, match="1 of 3 embeddings have length 0 or NaN"):
            both_ways_of_sentences(queries, candidates, np.arange(3))


@pytest.mark.parametrize("similarities", [100, 4, 8])  # all at once, one and two at a time
def test_a_wrong_sentence_is_one_find_however_often_it_was_translated(monkeypatch, similarities):
    """A sentence of three translations takes the first three places of the list: the right one,
    second of those that a reader sees, counted as fourth (its share of finds within three as 0)."""
    monkeypatch.setattr(retrieval, "_CHUNK_SIMILARITIES", similarities)
    sources = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    targets = np.array([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4]])
    groups = np.array([0, 0, 0, 1])
    to_source, to_target = both_ways_of_sentences(targets, sources, groups)
    assert to_source.tolist() == [1, 1, 1, 2]
    # Translations are sentences of their own: all three of the wrong one would be seen.
    assert to_target.tolist() == [1, 1, 1, 1]
    assert both_ways_of_sentences(targets, sources[::-1], groups[::-1])[1].tolist() == [4, 2, 2, 2]
    # The order of pairs decides nothing.
    order = [3, 1, 0, 2]
    shuffled, _ = both_ways_of_sentences(targets[order], sources[order], groups[order])
    assert shuffled.tolist() == [2, 1, 1, 1]


def test_other_translations_of_a_sentence_are_not_in_its_way():
    """A sentence with two translations can never find both at rank 1: a ceiling nobody sees."""
    sources = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    targets = np.array([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0]])
    alone = both_ways_of_sentences(targets, sources, np.arange(3))
    assert [ranks.tolist() for ranks in alone] == [[2, 2, 1], [1, 2, 1]]
    together = both_ways_of_sentences(targets, sources, np.array([0, 0, 1]))
    assert [ranks.tolist() for ranks in together] == [[1, 1, 1], [1, 1, 1]]
    # The groups are no excuse for vectors that are all alike.
    ones = np.ones((3, 2))
    blind = both_ways_of_sentences(ones, ones, np.array([0, 0, 1]))
    assert [ranks.tolist() for ranks in blind] == [[2, 2, 2], [2, 2, 3]]


def test_both_directions_count_alike():
    """By hand: to the source 1, 2, 1; to the target 1, 1, 4. A rank of 4 is within 5, not 3."""
    ranks = (np.array([1, 2, 1]), np.array([1, 1, 4]))
    scores = scores_of(both_ways_statistics(ranks), (*MEASURES, *WITHIN, TO_SOURCE, TO_TARGET))
    assert scores["accuracy_at_1"] == pytest.approx(4 / 6)
    assert scores["accuracy_at_3"] == pytest.approx(5 / 6)
    assert scores["accuracy_at_5"] == scores["accuracy_at_10"] == 1
    assert scores["mrr"] == pytest.approx((1 + 0.5 + 1 + 1 + 1 + 0.25) / 6)
    assert scores["accuracy_at_1_to_source"] == pytest.approx(2 / 3)
    assert scores["accuracy_at_1_to_target"] == pytest.approx(2 / 3)
    assert retrieval_scores(ranks) == pytest.approx(
        {k: scores[k] for k in ("accuracy_at_1", "mrr")}
    )


def test_the_nearest_is_found_in_every_chunk(monkeypatch):
    """Indices counted from a chunk's own start."""
    rng = np.random.default_rng(1)
    queries, candidates = rng.normal(size=(17, 5)), 3 * rng.normal(size=(11, 5))
    monkeypatch.setattr(retrieval, "_CHUNK_SIMILARITIES", 50)
    unit = candidates / np.linalg.norm(candidates, axis=1, keepdims=True)
    assert nearest(queries, candidates).tolist() == [int((unit @ q).argmax()) for q in queries]


def test_copies_of_copies_have_one_number(monkeypatch):
    """A sentence read in four batches would be two, one in the other's way."""
    monkeypatch.setattr(retrieval, "_CHUNK_SIMILARITIES", 12)  # two vectors at a time
    degrees = np.array([0.0, 0.5, 90.0, 1.0, 1.5, 92.0])  # cos 0.5° = 0.99996, cos 1° = 0.9998
    angles = np.radians(degrees)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array(
        [[1], [2], [1], [3], [1], [1]]
    )
    assert alike(vectors).tolist() == [0, 0, 2, 0, 0, 5]
