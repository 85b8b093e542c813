"""Generation: a text, a fitting reply or continuation (dialogue).

Many replies fit, so closeness to one reference says little: what is watched beside it is whether a
model says always the same (distinct-2) or runs in circles (`fluency`: 1 minus the share of 4-grams
that repeat one of the same text).
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.modeling.encoder_decoder.config import DecodingConfig
from tasks.problems.seq2seq import Seq2SeqProblem, corpus_scores


class Generation(Seq2SeqProblem):
    """One text, a reply."""

    name = "generation"
    metrics = ("chrf", "distinct_2", "fluency")
    decoding = DecodingConfig(num_beams=4, no_repeat_ngram_size=3)

    def score(
        self, written: Sequence[str], references: Sequence[str], *, language: str
    ) -> dict[str, float]:
        """`chrf` (chrF++), `distinct_2` and `fluency`."""
        from tasks.metrics.scores import generation
        from tasks.metrics.scores.translation import TranslationScorer

        scorer = TranslationScorer(language)
        found = corpus_scores(scorer.measures, scorer.statistics(written, references))
        looks = generation.text_statistics(written, references)
        found |= corpus_scores(generation.MEASURES, looks)
        return {
            "chrf": found["chrf"],
            "distinct_2": found["distinct_2"],
            "fluency": 1 - found["repetition"],
        }
