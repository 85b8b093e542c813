"""Summarization: a long text, a short one that says the same.

Scored by ROUGE-L over words, or over characters of scripts without spaces. Its length is bounded
from both sides, and no run of three tokens is written twice: small models fall into loops here.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.modeling.encoder_decoder.config import DecodingConfig
from tasks.problems.seq2seq import Seq2SeqProblem, corpus_scores


class Summarization(Seq2SeqProblem):
    """One text, a short one."""

    name = "summarization"
    metrics = ("rouge_l", "rouge_2")
    decoding = DecodingConfig(num_beams=4, min_length_tokens=2, no_repeat_ngram_size=3)

    def score(
        self, written: Sequence[str], references: Sequence[str], *, language: str
    ) -> dict[str, float]:
        """`rouge_l` and `rouge_2`."""
        del language  # words are found by script
        from tasks.metrics.scores import rouge

        found = corpus_scores(rouge.MEASURES, rouge.rouge_statistics(written, references))
        return {name: found[name] for name in self.metrics}
