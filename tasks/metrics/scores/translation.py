"""BLEU and chrF++ by sacreBLEU, whose signature the report keeps.

A sentence's statistics are sacreBLEU's own (n-gram matches and lengths), so a score here is the
score of its command line, and a resample is scored from sums instead of texts. Both are kept as
fractions: 0.352 is 35.2 BLEU.

Chinese is split into characters by sacreBLEU's `zh`; other scripts without spaces by `char`; the
rest by `13a`. Scores of two tokenizers are not comparable: the signature says which one it was.

References: Post 2018, arXiv:1804.08771; Popović 2017 (chrF++).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from data_contracts.evaluation import Metric
from tasks.metrics.scores.classification import FloatArray
from tasks.metrics.statistics import Measure, Statistics, rows

_TOKENIZERS = {"zh": "zh", "yue": "zh", **dict.fromkeys(("ja", "th", "lo", "km", "my"), "char")}


def bleu_tokenizer(language: str) -> str:
    """sacreBLEU's tokenizer for texts in a language (a BCP-47 tag)."""
    return _TOKENIZERS.get(language.split("-")[0].lower(), "13a")


class TranslationScorer:
    """BLEU and chrF++ of translations into one language."""

    def __init__(self, target_language: str) -> None:
        """`target_language`: BCP-47; decides the tokenizer of BLEU."""
        self._bleu = BLEU(tokenize=bleu_tokenizer(target_language))
        self._chrf = CHRF(word_order=2)

    def statistics(
        self, translations: Sequence[str], references: Sequence[str]
    ) -> dict[str, Statistics]:
        """Statistics of both metrics; one reference a translation.

        Raises: ValueError if the numbers of texts differ or there are none.
        """
        if len(translations) != len(references) or not translations:
            raise ValueError(f"{len(translations)} translations of {len(references)} references")
        return {
            name: rows(metric._extract_corpus_statistics(list(translations), [list(references)]))
            for name, metric in (("bleu", self._bleu), ("chrf", self._chrf))
        }

    @property
    def measures(self) -> tuple[Measure, ...]:
        """BLEU (primary) and chrF++, with their signatures."""
        return (
            Measure(
                Metric(name="bleu", display="BLEU", signature=_signature(self._bleu)),
                _score_of(self._bleu),
            ),
            Measure(
                Metric(name="chrf", display="chrF++", signature=_signature(self._chrf)),
                _score_of(self._chrf),
            ),
        )


def _signature(metric: BLEU | CHRF) -> str:
    # It names the number of references only once something was scored.
    metric.corpus_score(["a b c d"], [["a b c d"]])
    return str(metric.get_signature())


def _score_of(metric: BLEU | CHRF) -> Callable[[FloatArray], FloatArray]:
    """Sums (..., K) -> scores as fractions. The formula is sacreBLEU's, called once a resample."""

    def score(sums: FloatArray) -> FloatArray:
        flat = np.asarray(sums, dtype=np.float64).reshape(-1, np.shape(sums)[-1])
        found = [
            metric._compute_score_from_stats([round(value) for value in row.tolist()]).score
            for row in flat
        ]
        return np.array(found).reshape(np.shape(sums)[:-1]) / 100

    return score
