"""Text classification: one text, one of C classes (intents, topics, sentiment).

    row      text, label (a class name), optional parallel_text in the teacher's language
    head     pooled hidden states → linear layer, C logits
    loss     soft targets (KL) and hard labels (cross-entropy) over C
    metrics  accuracy, macro-F1, cross-entropy
    decode   the class of the largest logit, with its softmax probability

Shapes: C classes, N rows.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score
from transformers import PreTrainedModel

from tasks.modeling.classifier import EncoderClassifier
from tasks.modeling.config import Pooling

NAME = "text_classification"


def build_model(
    backbone: PreTrainedModel, *, num_labels: int, pooling: Pooling, dropout: float
) -> EncoderClassifier:
    """The network for this problem on top of an encoder."""
    return EncoderClassifier(backbone, num_labels=num_labels, pooling=pooling, dropout=dropout)


def score(logits_NC: np.ndarray, labels_N: np.ndarray) -> dict[str, float]:
    """Validation figures from logits (N, C) and gold class indices (N,).

    Returns: `accuracy` and `macro_f1` (over the classes present) in [0, 1], `loss` in nats a row.
    """
    predictions_N = logits_NC.argmax(1)
    shifted_NC = logits_NC.astype(np.float64) - logits_NC.max(1, keepdims=True)
    log_probabilities_NC = shifted_NC - np.log(np.exp(shifted_NC).sum(1, keepdims=True))
    return {
        "accuracy": float((predictions_N == labels_N).mean()),
        "macro_f1": float(
            f1_score(
                labels_N,
                predictions_N,
                labels=np.unique(labels_N),
                average="macro",
                zero_division=0,  # pyright: ignore[reportArgumentType]
            )
        ),
        "loss": float(-log_probabilities_NC[np.arange(len(labels_N)), labels_N].mean()),
    }
