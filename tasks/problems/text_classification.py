"""Text classification: one text, one of C classes (intents, topics, sentiment).

    row      text, label (a class name), optional parallel_text in the teacher's language
    head     pooled hidden states → linear layer, C logits
    loss     soft targets (KL) and hard labels (cross-entropy) over C
    metrics  accuracy, macro-F1, cross-entropy
    decode   the class of the largest logit, with its softmax probability

Shapes: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tasks.problems.problem import Answers
from tasks.problems.whole_texts import WholeTextProblem, log_softmax


class TextClassification(WholeTextProblem):
    """One text, one class."""

    name = "text_classification"
    metrics = ("accuracy", "macro_f1")

    def score(
        self, table: pa.Table, logits: np.ndarray, answers: Answers, *, labels: Sequence[str]
    ) -> dict[str, float]:
        """`accuracy` and `macro_f1` (over the classes present) in [0, 1], `loss` in nats a row."""
        del table, labels
        return class_scores(logits, answers.labels)


def class_scores(logits_NC: np.ndarray, labels_N: np.ndarray) -> dict[str, float]:
    """Accuracy, macro-F1 over the classes present, and mean cross-entropy in nats.

    Args:
        logits_NC: float, (N, C).
        labels_N: int64, (N,), each a class.
    """
    from sklearn.metrics import f1_score

    predictions_N = logits_NC.argmax(1)
    macro_f1 = f1_score(
        labels_N,
        predictions_N,
        labels=np.unique(labels_N),
        average="macro",
        zero_division=0,  # pyright: ignore[reportArgumentType]
    )
    return {
        "accuracy": float((predictions_N == labels_N).mean()),
        "macro_f1": float(macro_f1),
        "loss": float(-log_softmax(logits_NC)[np.arange(len(labels_N)), labels_N].mean()),
    }
