"""Floors for pairs of texts: how alike they look, and what that says about their class.

The cosine of TF-IDF vectors of character n-grams is one number a pair; a logistic regression on it
alone learns the threshold, and on which side of it each class lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tasks.metrics.scores.classification import FloatArray, IntArray

Pair = tuple[str, str]
_HASHED = 2048  # columns of `character_vectors`: 8 kB a text


def cosine_probabilities(
    train_pairs: Sequence[Pair],
    train_labels: IntArray,
    pairs: Sequence[Pair],
    *,
    num_classes: int,
    ngram_range: tuple[int, int] = (1, 3),
) -> FloatArray:
    """Class probabilities from the cosine of each pair.

    Args:
        train_pairs: M pairs to learn from.
        train_labels: their classes, (M,).
        pairs: N pairs to classify.
        num_classes: C; classes that never occur in training get probability 0.
        ngram_range: shortest and longest character n-gram.

    Returns: (N, C).
    Raises: ValueError if the training labels hold fewer than two classes.
    """
    classes = np.unique(train_labels)
    if classes.size < 2:
        raise ValueError(f"a threshold needs two classes, the labels hold {classes.size}")
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=ngram_range, sublinear_tf=True)
    vectorizer.fit([text for pair in train_pairs for text in pair])

    def cosines(of: Sequence[Pair]) -> np.ndarray:
        # Its vectors have length one: their product is the cosine.
        first, second = (
            sparse.csr_array(vectorizer.transform([pair[i] for pair in of])) for i in (0, 1)
        )
        return np.asarray(first.multiply(second).sum(axis=1)).reshape(-1, 1)

    # Hardly regularised: there is one weight, and a cosine spans little of 0..1.
    model = LogisticRegression(C=1e4).fit(cosines(train_pairs), train_labels)
    probabilities = np.zeros((len(pairs), num_classes))
    probabilities[:, classes] = cast(np.ndarray, model.predict_proba(cosines(pairs)))
    return probabilities


def character_vectors(texts: Sequence[str]) -> FloatArray:
    """Counts of character n-grams (1 to 3) as vectors of unit length, (N, 2048), float32.

    Nothing is learnt: what texts of two languages share are names, numbers and borrowed words.

    Args:
        texts: N texts, none empty.
    """
    vectorizer = HashingVectorizer(
        analyzer="char", ngram_range=(1, 3), n_features=_HASHED, alternate_sign=False
    )
    counts = sparse.csr_array(vectorizer.transform(texts))
    return counts.toarray().astype(np.float32)
