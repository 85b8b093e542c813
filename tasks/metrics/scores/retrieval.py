"""Finding the partner of each text among all candidates by cosine: accuracy@k and MRR.

Candidates as near as the partner count as ahead of it, so that embeddings that are all alike find
nothing (with the opposite rule they would find everything).

Shapes: N queries, M candidates, D width.
"""

from __future__ import annotations

import numpy as np

from data_contracts.evaluation import Metric
from tasks.metrics.scores.classification import FloatArray, IntArray
from tasks.metrics.statistics import Measure, Statistics, mean_of, values

ACCURACY_AT_1 = Measure(
    Metric(
        name="accuracy_at_1",
        display="accuracy@1",
        meaning="share of texts whose nearest candidate is their partner",
    ),
    mean_of,
    is_mean=True,
)
MRR = Measure(
    Metric(name="mrr", display="MRR", meaning="mean of 1 / rank of the partner"),
    mean_of,
    is_mean=True,
)
MEASURES = (ACCURACY_AT_1, MRR)
WITHIN_RANKS = (1, 3, 5, 10)
"""How many candidates a reader of a list of finds looks at."""
WITHIN = tuple(
    Measure(
        Metric(
            name=f"accuracy_at_{k}",
            display=f"accuracy@{k}",
            compared=False,
            tabled=False,
            meaning=f"share of texts whose partner is among the {k} nearest candidates",
        ),
        mean_of,
        is_mean=True,
    )
    for k in WITHIN_RANKS[1:]
)
TO_SOURCE = Measure(
    Metric(
        name="accuracy_at_1_to_source",
        display="accuracy@1, to the source",
        compared=False,
        meaning="accuracy@1 of finding the sentence in the teacher's language by its translation",
    ),
    mean_of,
    is_mean=True,
)
TO_TARGET = Measure(
    Metric(
        name="accuracy_at_1_to_target",
        display="accuracy@1, to the target",
        compared=False,
        meaning="accuracy@1 of finding a translation by the sentence in the teacher's language",
    ),
    mean_of,
    is_mean=True,
)
# Similarities held at once: 16 million float32, 64 MB, whatever the number of texts.
_CHUNK_SIMILARITIES = 16_000_000


def partner_ranks(
    queries_ND: FloatArray,
    candidates_MD: FloatArray,
    partners_N: IntArray | None = None,
    groups_N: IntArray | None = None,
) -> IntArray:
    """Rank of each query's partner among the candidates by cosine, 1 for the nearest.

    Args:
        queries_ND: (N, D), none of length zero.
        candidates_MD: (M, D), likewise.
        partners_N: index of each query's partner; None: the candidate of the same position.
        groups_N: what each candidate is a form of, its number: other forms of the partner are not
            ahead of it (a sentence with several translations); None: each is alone.

    Raises:
        ValueError: if a vector is zero or not finite, or a partner is missing.
    """
    partners = np.arange(len(queries_ND)) if partners_N is None else np.asarray(partners_N)
    if len(partners) != len(queries_ND) or partners.max(initial=-1) >= len(candidates_MD):
        raise ValueError(
            f"{len(queries_ND)} queries, {len(partners)} partners, {len(candidates_MD)} candidates"
        )
    queries, candidates = _unit_length(queries_ND), _unit_length(candidates_MD)
    ranks = np.empty(len(queries), dtype=np.int64)
    chunk = max(1, _CHUNK_SIMILARITIES // max(1, len(candidates)))
    for start in range(0, len(queries), chunk):
        similar = queries[start : start + chunk] @ candidates.T
        own = np.take_along_axis(similar, partners[start : start + chunk, None], axis=1)
        # A product in another order differs in its last bits: that is as near.
        ahead = similar >= own - 1e-6
        if groups_N is not None:
            of_partner = groups_N[partners[start : start + chunk]]
            ahead &= groups_N[None, :] != of_partner[:, None]
            ranks[start : start + chunk] = 1 + ahead.sum(axis=1)
        else:
            ranks[start : start + chunk] = ahead.sum(axis=1)
    return ranks


def alike(vectors_ND: FloatArray, *, cosine: float = 0.9999) -> IntArray:
    """A number for each vector (N,), the same for copies: that of the first one in their chain.

    Copies of one text that were read in different batches differ in their last bits (bfloat16 keeps
    eight: some 1e-5 of a cosine), so they are told by direction, not by equal numbers.
    """
    vectors = _unit_length(vectors_ND)
    found = np.empty(len(vectors), dtype=np.int64)
    chunk = max(1, _CHUNK_SIMILARITIES // max(1, len(vectors)))
    for start in range(0, len(vectors), chunk):
        similar = vectors[start : start + chunk] @ vectors.T
        found[start : start + chunk] = (similar >= cosine).argmax(axis=1)
    # A copy of a copy belongs to the first of them all.
    while not np.array_equal(found, found[found]):
        found = found[found]
    return found


def both_ways_of_sentences(
    targets_ND: FloatArray, sources_ND: FloatArray, groups_N: IntArray
) -> tuple[IntArray, IntArray]:
    """Ranks (N,) of each pair's source among all sources by its target, and of its target by it.

    Searched are the source sentences, each once: copies of a wrong one are one find of a reader,
    not several that push the right one down.

    Args:
        groups_N: number of each pair's source sentence: pairs that share one are translations of
            it, and none of them is in the others' way.
    """
    _, first, which = np.unique(groups_N, return_index=True, return_inverse=True)
    return (
        partner_ranks(targets_ND, sources_ND[first], which),
        partner_ranks(sources_ND, targets_ND, groups_N=groups_N),
    )


def nearest(queries_ND: FloatArray, candidates_MD: FloatArray) -> IntArray:
    """Index of each query's nearest candidate by cosine, the first of equally near ones, (N,)."""
    queries, candidates = _unit_length(queries_ND), _unit_length(candidates_MD)
    chunk = max(1, _CHUNK_SIMILARITIES // max(1, len(candidates)))
    found = [
        (queries[start : start + chunk] @ candidates.T).argmax(axis=1)
        for start in range(0, len(queries), chunk)
    ]
    return np.concatenate([np.empty(0, np.int64), *found])


def both_ways_statistics(ranks: tuple[IntArray, IntArray]) -> dict[str, Statistics]:
    """Statistics of all metrics from ranks of both ways: of both directions together, but for
    the last two."""
    to_source, to_target = (retrieval_statistics(found) for found in ranks)
    return {
        **{
            f"accuracy_at_{k}": values(np.mean([found <= k for found in ranks], axis=0))
            for k in WITHIN_RANKS
        },
        "mrr": values(np.mean([1.0 / found for found in ranks], axis=0)),
        "accuracy_at_1_to_source": to_source["accuracy_at_1"],
        "accuracy_at_1_to_target": to_target["accuracy_at_1"],
    }


def retrieval_scores(ranks: tuple[IntArray, IntArray]) -> dict[str, float]:
    """`accuracy_at_1` and `mrr` from ranks of both ways, means of both directions."""
    found = np.stack(ranks)
    return {
        "accuracy_at_1": float((found == 1).mean()),
        "mrr": float((1.0 / found).mean()),
    }


def retrieval_statistics(ranks: IntArray) -> dict[str, Statistics]:
    """Statistics of both metrics from the ranks (N,)."""
    return {"accuracy_at_1": values(ranks == 1), "mrr": values(1.0 / ranks)}


def _unit_length(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # No comparison with NaN is true: nothing would be ahead of such a vector's partner.
    if unfit := int((~(np.isfinite(lengths) & (lengths > 0))).sum()):
        raise ValueError(f"{unfit} of {len(vectors)} embeddings have length 0 or NaN")
    return np.asarray(vectors / lengths, dtype=np.float32)
