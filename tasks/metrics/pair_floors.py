"""A floor for pairs of texts: how alike they look, and what that says about their class.

The cosine of TF-IDF vectors of character n-grams is one number a pair; a logistic regression on it
alone learns the threshold, and on which side of it each class lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tasks.metrics.classification import FloatArray, IntArray

Pair = tuple[str, str]


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
