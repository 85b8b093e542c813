"""Scores of a single-label classifier from class indices.

Macro averages run over the classes *with support*: the same set for every system on a test set, so
a system cannot change its own denominator by predicting a class that never occurs (scikit-learn's
default averages over the union of labels and predictions). A precision without predictions is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from sklearn.metrics import confusion_matrix as _confusion_matrix
from sklearn.metrics import precision_recall_fscore_support

IntArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.integer]]
FloatArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.floating]]


@dataclass(frozen=True)
class Average:
    """Precision, recall and F1 averaged in one way, fractions in 0..1."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassificationTable:
    """Per-class arrays of shape (C,), their averages and the accuracy."""

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    support: IntArray
    micro: Average
    macro: Average
    weighted: Average
    accuracy: float


def classification_table(
    labels: IntArray, predictions: IntArray, *, num_classes: int
) -> ClassificationTable:
    """Precision, recall, F1 and support per class, with micro, macro and weighted averages.

    Args:
        labels: gold classes, shape (N,), each in 0..num_classes-1.
        predictions: decided classes, shape (N,), same range.
        num_classes: C, the size of the label set.

    Raises:
        ValueError: if there are no examples, the shapes differ or a class is out of range.
    """
    check_classes(labels, predictions, num_classes=num_classes)
    parts = precision_recall_fscore_support(
        labels,
        predictions,
        labels=np.arange(num_classes),
        zero_division=0.0,  # pyright: ignore[reportArgumentType]  # typed after its default "warn"
    )
    precision, recall, f1, support = (np.asarray(part) for part in parts)
    weights = support / support.sum()
    occurs = support > 0
    accuracy = float(np.mean(labels == predictions))
    return ClassificationTable(
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        # One decision an example: pooled false positives equal pooled false negatives.
        micro=Average(accuracy, accuracy, accuracy),
        macro=Average(*(float(part[occurs].mean()) for part in (precision, recall, f1))),
        weighted=Average(*(float(part @ weights) for part in (precision, recall, f1))),
        accuracy=accuracy,
    )


def confusion_matrix(labels: IntArray, predictions: IntArray, *, num_classes: int) -> IntArray:
    """Counts of shape (C, C): row = gold class, column = decided class."""
    check_classes(labels, predictions, num_classes=num_classes)
    return np.asarray(_confusion_matrix(labels, predictions, labels=np.arange(num_classes)))


def check_classes(labels: IntArray, predictions: IntArray, *, num_classes: int) -> None:
    """Refuse empty, misaligned or out-of-range class arrays, before a score hides the mistake.

    Raises:
        ValueError: with the shapes or the class that is wrong.
    """
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(
            f"labels {labels.shape} and predictions {predictions.shape} must be equally long"
        )
    if labels.size == 0:
        raise ValueError("no labelled examples to score: give test rows with labels")
    for name, classes in (("labels", labels), ("predictions", predictions)):
        if classes.min() < 0 or classes.max() >= num_classes:
            raise ValueError(
                f"{name} hold classes {classes.min()}..{classes.max()}, "
                f"but the label set has {num_classes}"
            )
