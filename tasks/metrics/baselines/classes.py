"""Floors: what a method without a neural network reaches, so that a student's score has a meaning.

- Majority class: always the most frequent class of what the student learned from.
- Linear: TF-IDF over character n-grams and a logistic regression. Characters serve every script,
  with or without spaces. It is trained twice, once on the teacher's pseudo-labels of the transfer
  texts (what the student had) and once on gold labels (what the supervised bound had).

A student that does not beat the linear floor on pseudo-labels did not earn its Transformer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tasks.metrics.scores.classification import FloatArray, IntArray

# From here on, n-grams seen in one text only are left out: 6,000 texts of 40 classes train in 0.5 s
# instead of 3.7 s (one core), with the same accuracy.
_TEXTS_TO_PRUNE = 1000


def majority_class(labels: IntArray) -> int:
    """The most frequent class of `labels` (N,); the lowest index wins a tie.

    Raises:
        ValueError: if there are no labels.
    """
    if labels.size == 0:
        raise ValueError("no labels to take the majority of")
    return int(np.bincount(labels).argmax())


def linear_probabilities(
    train_texts: Sequence[str],
    train_labels: IntArray,
    texts: Sequence[str],
    *,
    num_classes: int,
    ngram_range: tuple[int, int] = (1, 3),
    inverse_regularization: float = 10.0,
    max_iterations: int = 60,
) -> tuple[FloatArray, int]:
    """Class probabilities of a linear TF-IDF classifier trained here.

    Args:
        train_texts: M texts to learn from.
        train_labels: their classes, shape (M,).
        texts: N texts to classify.
        num_classes: C; classes that never occur in training get probability 0.
        ngram_range: shortest and longest character n-gram; white space counts as a character.
        inverse_regularization: scikit-learn's C. 10 suits a few thousand short texts; the floor
            is not tuned on the test set.
        max_iterations: of L-BFGS.

    Returns:
        Probabilities, shape (N, C), and the number of parameters (weights and biases).

    Raises:
        ValueError: if the training labels hold fewer than two classes.
    """
    classes = np.unique(train_labels)
    if classes.size < 2:
        raise ValueError(f"a linear classifier needs two classes, the labels hold {classes.size}")
    learned, asked = _features(train_texts, texts, ngram_range)
    model = _regression(inverse_regularization, max_iterations).fit(learned, train_labels)
    probabilities = np.zeros((len(texts), num_classes))
    probabilities[:, classes] = cast(np.ndarray, model.predict_proba(asked))
    return probabilities, int(np.size(model.coef_) + np.size(model.intercept_))


def linear_probabilities_by_class(
    train_texts: Sequence[str],
    train_labels: IntArray,
    texts: Sequence[str],
    *,
    ngram_range: tuple[int, int] = (1, 3),
    inverse_regularization: float = 10.0,
    max_iterations: int = 60,
) -> FloatArray:
    """Probability of each class by itself: `linear_probabilities` of yes and no, class by class.

    Texts are counted once, whatever the number of classes: that takes most of the time.

    Args:
        train_texts: M texts to learn from.
        train_labels: 0 and 1, shape (M, C); a class that is the same for all texts is so for
            every other text too.
        texts: N texts to classify.
        ngram_range, inverse_regularization, max_iterations: as for `linear_probabilities`.
    Returns: shape (N, C).
    """
    learned, asked = _features(train_texts, texts, ngram_range)
    probabilities = np.empty((len(texts), train_labels.shape[1]))
    for which, labels in enumerate(train_labels.T):
        if (labels == labels[0]).all():
            probabilities[:, which] = labels[0]
            continue
        model = _regression(inverse_regularization, max_iterations).fit(learned, labels)
        probabilities[:, which] = cast(np.ndarray, model.predict_proba(asked))[:, 1]
    return probabilities


def _regression(inverse_regularization: float, max_iterations: int) -> LogisticRegression:
    return LogisticRegression(C=inverse_regularization, max_iter=max_iterations, tol=1e-3)


def _features(
    train_texts: Sequence[str], texts: Sequence[str], ngram_range: tuple[int, int]
) -> tuple[Any, Any]:
    """TF-IDF of the texts to learn from and of those to classify, sparse, (M, F) and (N, F)."""
    vectorizer = TfidfVectorizer(
        analyzer="char",
        ngram_range=ngram_range,
        sublinear_tf=True,
        min_df=2 if len(train_texts) >= _TEXTS_TO_PRUNE else 1,
        dtype=np.float32,  # pyright: ignore[reportArgumentType]  # typed after its default
    )
    return vectorizer.fit_transform(train_texts), vectorizer.transform(texts)
