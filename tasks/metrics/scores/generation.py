"""What written texts look like: how varied, how repetitive, how long. Needs no right answer.

    distinct_1, _2   different words (pairs of words) / all of them, over the whole test set
    repetition       share of 4-grams that repeat one of the same text: a loop, if high
    length_ratio     words written / words of the reference

Words as `tasks.metrics.scores.words`. None of them is good by being high: they tell a degenerate
model from a good one where BLEU or ROUGE does not.

References: Li et al. 2016, arXiv:1510.03055 (distinct-n); Welleck et al. 2020, arXiv:1908.04319
    (repetition).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from data_contracts.evaluation import Metric
from tasks.metrics.scores.classification import FloatArray
from tasks.metrics.scores.words import words_of
from tasks.metrics.statistics import Measure, Statistics, mean_of, rows, values

_REPEATED = 4


def _share_of_kinds(sums: FloatArray) -> FloatArray:
    """Kinds that occur / all occurrences, of counts (..., K) by kind."""
    return (sums > 0).sum(axis=-1) / np.maximum(sums.sum(axis=-1), 1e-12)


def _share_of_reference(sums: FloatArray) -> FloatArray:
    """Written / reference of sums (..., 2); 0 where references hold no word, such as emoji."""
    written, reference = sums[..., 0], sums[..., 1]
    return np.where(reference > 0, written / np.maximum(reference, 1.0), 0.0)


DISTINCT_1 = Measure(
    Metric(
        name="distinct_1",
        display="distinct-1",
        compared=False,
        meaning="different words as a share of all words written",
    ),
    _share_of_kinds,
)
DISTINCT_2 = Measure(
    Metric(
        name="distinct_2",
        display="distinct-2",
        compared=False,
        meaning="different pairs of words as a share of all pairs written",
    ),
    _share_of_kinds,
)
REPETITION = Measure(
    Metric(
        name="repetition",
        display="repetition",
        compared=False,
        meaning="share of 4-grams that repeat an earlier one of the same text",
    ),
    mean_of,
)
LENGTH_RATIO = Measure(
    Metric(
        name="length_ratio",
        display="length ratio",
        compared=False,
        meaning="words written as a share of the reference's",
    ),
    _share_of_reference,
)
DISTINCT = (DISTINCT_1, DISTINCT_2)
FLUENCY = (REPETITION, LENGTH_RATIO)
MEASURES = (*DISTINCT, *FLUENCY)


EXACT_MATCH = Measure(
    Metric(
        name="exact_match",
        display="exact match",
        meaning="share of texts that are the reference, but for case and spaces",
    ),
    mean_of,
    is_mean=True,
)


def exact_matches(texts: Sequence[str], references: Sequence[str]) -> Statistics:
    """Statistics of `EXACT_MATCH`.

    Raises: ValueError if the numbers of texts differ.
    """
    pairs = zip(texts, references, strict=True)
    return values([_plain(text) == _plain(reference) for text, reference in pairs])


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()


def text_statistics(texts: Sequence[str], references: Sequence[str]) -> dict[str, Statistics]:
    """Statistics of all of `MEASURES`.

    Raises: ValueError if the numbers of texts differ.
    """
    words = [words_of(text) for text in texts]
    lengths = [len(words_of(reference)) for reference in references]
    return {
        "distinct_1": _counts(words, 1),
        "distinct_2": _counts(words, 2),
        "repetition": rows([_repeated(one, _REPEATED) for one in words]),
        "length_ratio": rows(
            [(len(one), length) for one, length in zip(words, lengths, strict=True)]
        ),
    }


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _repeated(words: Sequence[str], n: int) -> tuple[int, int]:
    found = ngrams(words, n)
    return len(found) - len(set(found)), len(found)


def _counts(words: Sequence[Sequence[str]], n: int) -> Statistics:
    """How often each n-gram occurs in each text, (N, kinds)."""
    number: dict[tuple[str, ...], int] = {}
    entries: list[tuple[int, int, int]] = []
    for row, one in enumerate(words):
        for gram, times in Counter(ngrams(one, n)).items():
            entries.append((row, number.setdefault(gram, len(number)), times))
    places = np.array(entries, dtype=np.int64).reshape(-1, 3)
    return sparse.csr_array(
        (places[:, 2].astype(np.float64), (places[:, 0], places[:, 1])),
        shape=(len(words), max(1, len(number))),
    )
