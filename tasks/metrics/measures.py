"""Primary metrics by name: who reads statistics of another run finds their score here."""

from __future__ import annotations

from collections.abc import Callable

from tasks.metrics import class_answers
from tasks.metrics.scores import answer_texts, entities, multilabel, retrieval, rouge, similarity
from tasks.metrics.statistics import Measure


def _translation(language: str, which: int) -> Measure:
    from tasks.metrics.scores.translation import TranslationScorer

    return TranslationScorer(language).measures[which]


_PRIMARY = (
    class_answers.ACCURACY,
    multilabel.MICRO_F1,
    entities.ENTITY_F1,
    answer_texts.ANSWER_F1,
    retrieval.ACCURACY_AT_1,
    similarity.SPEARMAN,
    rouge.MEASURES[0],
)
_BY_NAME: dict[str, Callable[[str], Measure]] = {
    **{measure.name: lambda language, measure=measure: measure for measure in _PRIMARY},
    "bleu": lambda language: _translation(language, 0),
    "chrf": lambda language: _translation(language, 1),
}


def primary_measure(name: str, *, target_language: str) -> Measure:
    """The primary metric of that name.

    Raises: KeyError if no problem has it.
    """
    return _BY_NAME[name](target_language)
