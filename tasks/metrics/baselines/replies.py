"""Floors for replies: always the commonest one, and the reply to the most similar text.

A model that writes must beat an assistant that looks up. Similarity is the cosine of TF-IDF vectors
of character n-grams, which needs no words and so no language.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

# Texts looked up at once: similarities to 50,000 known texts are 100 MB at most.
_CHUNK_TEXTS = 256


def commonest_reply(replies: Sequence[str]) -> str:
    """The reply that occurs most often, the first in text order of equals."""
    counts = Counter(replies)
    return min(counts, key=lambda reply: (-counts[reply], reply))


def nearest_replies(
    known_texts: Sequence[str],
    known_replies: Sequence[str],
    texts: Sequence[str],
    *,
    ngram_range: tuple[int, int] = (1, 3),
) -> list[str]:
    """For each text the reply to the known text most like it, the first of equals.

    Raises: ValueError if there is no known text, or texts and replies differ in number.
    """
    if not known_texts or len(known_texts) != len(known_replies):
        raise ValueError(f"{len(known_texts)} known texts, {len(known_replies)} replies to them")
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=ngram_range, sublinear_tf=True)
    known = sparse.csr_array(vectorizer.fit_transform(known_texts))
    asked = sparse.csr_array(vectorizer.transform(texts))
    found: list[str] = []
    for start in range(0, len(texts), _CHUNK_TEXTS):
        # Vectors have length one: their product is the cosine.
        similar = (asked[start : start + _CHUNK_TEXTS] @ known.T).toarray()
        found += [known_replies[int(place)] for place in np.argmax(similar, axis=1)]
    return found
