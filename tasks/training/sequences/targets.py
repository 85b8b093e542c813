"""Sequence-level distillation: which of the teacher's texts a student is to learn.

    sequence        the best hypothesis of the teacher's beam search, whatever the gold text is
    interpolation   the hypothesis most similar to the gold text: the teacher's words, its meaning

Similarity is sentence BLEU or chrF of sacreBLEU, on the text as it is (a Chinese one by character).

References: Kim & Rush 2016, arXiv:1606.07947, section 3.2 (sequence-level), 3.3 (interpolation).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from tasks.metrics.scores.translation import bleu_tokenizer

Similarity = Literal["bleu", "chrf"]


def closest_hypothesis(
    hypotheses: Sequence[str], gold: str, *, similarity: Similarity, language: str
) -> int:
    """Number of the hypothesis most similar to the gold text; the teacher's favourite among equals.

    Args:
        hypotheses: texts, the teacher's favourite first; at least one.
        language: BCP-47 tag of the texts, which decides how BLEU cuts them.
    Raises: ValueError if there is no hypothesis.
    """
    if not hypotheses:
        raise ValueError("no hypotheses to choose from: ask the teacher for at least one text")
    scorer = _scorer(similarity, bleu_tokenizer(language))
    scores = [scorer.sentence_score(text, [gold]).score for text in hypotheses]
    return max(range(len(scores)), key=lambda number: (scores[number], -number))


@cache
def _scorer(similarity: Similarity, tokenizer: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if similarity == "chrf":
        return CHRF()
    return BLEU(effective_order=True, tokenize=tokenizer)
