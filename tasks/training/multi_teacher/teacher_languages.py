"""What teachers count whose languages lie near the target language, and less if theirs do not.

    train rows in each teacher's languages ┐            cosine   language_similarity
    transfer and validation rows of the    ├─ vectors ─┤                              ─► weights
    target language                        ┘            learned  language_identification

Shapes: K teachers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from data_contracts.errors import ContractViolation
from tasks.training.multi_teacher.language_identification import learned_language_weights
from tasks.training.multi_teacher.language_similarity import (
    cosines,
    mean_embeddings,
    sample_texts,
    standardised_softmax,
    text_vectors,
)

_MAX_LENGTH_TOKENS = 128  # of a text whose language is judged


@dataclass(frozen=True)
class TeacherWeights:
    """What each teacher was judged by and what it counts, in their order.

    Args:
        scores: cosine with the target language; where learned, the weight itself.
        weights_K: together 1, but for rounding.
        figures: of the identifier, if one was trained: `language_accuracy`, the share of the
            teachers' texts whose language it tells, and `tau`, the variance of its scores.
    """

    scores: list[float]
    weights_K: np.ndarray
    figures: dict[str, float] = field(default_factory=dict)


def teacher_weights(
    corpus: Path,
    encoder: Path,
    *,
    languages: Sequence[Sequence[str]],
    target: str,
    similarity: Literal["cosine", "learned"],
    max_texts: int,
    seed: int,
) -> TeacherWeights:
    """Weigh teachers by the languages of the train rows they learned from.

    Args:
        languages: of each teacher.
        target: language that they are compared with.
        max_texts: of a language that the encoder reads at most.
        seed: of the identifier, if similarity is learned.
    Raises: ContractViolation if there are no texts of one of them, or, where learned, if all
        teachers learned from the same.
    """
    training_texts = [sample_texts(corpus, ["train"], known, most=max_texts) for known in languages]
    shown = sample_texts(corpus, ["transfer", "validation"], [target], most=max_texts)
    for known, texts in zip((*languages, (target,)), (*training_texts, shown), strict=True):
        if not texts:
            raise ContractViolation(
                f"the corpus holds no texts in {' or '.join(known)} to compare languages with",
                rule="weighting: similarity reads train rows of each teacher, and transfer or "
                "validation rows of the target language",
                remedy="add such a source, or choose another weighting",
            )
    if similarity == "learned":
        return _by_identifier(encoder, training_texts, shown, seed)
    vectors = mean_embeddings(
        encoder, [*training_texts, shown], max_length_tokens=_MAX_LENGTH_TOKENS
    )
    scores = [round(float(cosine), 6) for cosine in cosines(vectors[:-1], vectors[-1])]
    return TeacherWeights(scores, standardised_softmax(np.array(scores)))


def _by_identifier(
    encoder: Path, training_texts: list[list[str]], shown: list[str], seed: int
) -> TeacherWeights:
    """Teachers that learned from the same texts are of one language, and share its weight evenly:
    a second German teacher does not make German count twice."""
    # In an order of their own, so that it does not matter which teacher a recipe names first.
    distinct = sorted({tuple(texts) for texts in training_texts})
    if len(distinct) < 2:
        raise ContractViolation(
            f"the {len(training_texts)} teachers learned from the same {len(distinct[0])} texts",
            rule="similarity: learned trains to tell the languages of two or more teachers apart",
            remedy="add train rows of their other languages, or choose another weighting",
        )
    *sources, target_ND = text_vectors(
        encoder, [*distinct, shown], max_length_tokens=_MAX_LENGTH_TOKENS
    )
    learned = learned_language_weights(sources, target_ND, seed=seed)
    weights = dict(zip(distinct, learned.weights_K.tolist(), strict=True))
    keys = [tuple(texts) for texts in training_texts]
    scores = [round(weights[key] / keys.count(key), 6) for key in keys]
    figures = {"language_accuracy": round(learned.accuracy, 6), "tau": round(learned.tau, 6)}
    return TeacherWeights(scores, np.array(scores), figures)
