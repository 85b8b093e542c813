"""Ranks against sorting by hand."""

import numpy as np
import pytest

from tasks.metrics import retrieval
from tasks.metrics.retrieval import MEASURES, partner_ranks, retrieval_statistics
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
