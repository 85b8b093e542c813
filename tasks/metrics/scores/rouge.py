"""ROUGE of summaries in any script: rouge-score, with words as in `tasks.metrics.scores.words`.

Its own tokenizer keeps a-z and 0-9 only: every Chinese summary would score 0. No stemming: it is
English only. F1 of each summary, averaged; scores are fractions.

Reference: Lin 2004 (ROUGE).
"""

from __future__ import annotations

from collections.abc import Sequence

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer

from data_contracts.evaluation import Metric
from tasks.metrics.scores.words import words_of
from tasks.metrics.statistics import Measure, Statistics, mean_of, values

_MEANINGS = {
    "rouge_l": ("ROUGE-L", "rougeL", "longest common subsequence of words"),
    "rouge_1": ("ROUGE-1", "rouge1", "single words"),
    "rouge_2": ("ROUGE-2", "rouge2", "pairs of words"),
}
MEASURES = tuple(
    Measure(
        Metric(
            name=name,
            display=display,
            meaning=f"F1 of {meaning} in common with the reference, mean over summaries",
            signature="rouge-score, words of letters and digits, characters of scripts without "
            "spaces, no stemming",
        ),
        mean_of,
        is_mean=True,
    )
    for name, (display, _, meaning) in _MEANINGS.items()
)


class WordTokenizer(Tokenizer):
    """Words of any script for rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        """Its words, in lower case."""
        return words_of(text)


def rouge_statistics(summaries: Sequence[str], references: Sequence[str]) -> dict[str, Statistics]:
    """Statistics of all three; one reference a summary.

    Raises: ValueError if the numbers of texts differ.
    """
    scorer = RougeScorer([key for _, key, _ in _MEANINGS.values()], tokenizer=WordTokenizer())
    found = [
        scorer.score(reference, summary)
        for summary, reference in zip(summaries, references, strict=True)
    ]
    return {
        name: values([one[key].fmeasure for one in found])
        for name, (_, key, _) in _MEANINGS.items()
    }
