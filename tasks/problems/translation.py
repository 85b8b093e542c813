"""Translation: a text in one language, the same in another.

Scored by BLEU and chrF++ of sacreBLEU, Chinese cut as its `zh` tokenizer does.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.modeling.encoder_decoder.config import DecodingConfig
from tasks.problems.seq2seq import Seq2SeqProblem, corpus_scores


class Translation(Seq2SeqProblem):
    """One text, its translation."""

    name = "translation"
    metrics = ("bleu", "chrf")
    decoding = DecodingConfig(num_beams=4, length_penalty=1.0)

    def score(
        self, written: Sequence[str], references: Sequence[str], *, language: str
    ) -> dict[str, float]:
        """`bleu` and `chrf` (chrF++)."""
        from tasks.metrics.scores.translation import TranslationScorer

        scorer = TranslationScorer(language)
        return corpus_scores(scorer.measures, scorer.statistics(written, references))
