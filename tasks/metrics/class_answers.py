"""Answers that are one of C classes: their statistics, and the report's tables about them.

    labels, decided classes, confidences ─► class_answers ─► Answers with statistics
                                            class_table, frequent_confusions, calibrate

Macro averages run over the classes with support, as in `tasks.metrics.scores.classification`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from data_contracts.evaluation import (
    Calibration,
    CalibrationBin,
    ClassRow,
    ClassTable,
    Confusion,
    Metric,
)
from tasks.metrics.calibration import (
    calibration_statistics,
    error_of,
    expected_calibration_error,
    reliability_bins,
)
from tasks.metrics.scores.classification import (
    FloatArray,
    IntArray,
    check_classes,
    classification_table,
    confusion_matrix,
)
from tasks.metrics.statistics import (
    Measure,
    Statistics,
    macro_f1_of,
    mean_of,
    micro_f1_of,
    values,
    weighted_f1_of,
)
from tasks.metrics.systems import Answers

ACCURACY = Measure(
    Metric(name="accuracy", display="accuracy", meaning="share of examples answered correctly"),
    mean_of,
    is_mean=True,
)
MACRO_F1 = Measure(
    Metric(
        name="macro_f1",
        display="macro-F1",
        meaning="mean F1 over the classes that occur in the test labels",
    ),
    macro_f1_of,
)
MICRO_F1 = Measure(
    Metric(
        name="micro_f1",
        display="micro-F1",
        compared=False,
        tabled=False,
        meaning="F1 of the pooled decisions; equals accuracy here",
    ),
    micro_f1_of,
)
WEIGHTED_F1 = Measure(
    Metric(
        name="weighted_f1",
        display="weighted F1",
        compared=False,
        tabled=False,
        meaning="mean F1 weighted by each class's support",
    ),
    weighted_f1_of,
)
ECE = Measure(
    Metric(
        name="ece",
        display="ECE",
        compared=False,
        meaning="expected calibration error of the top-1 probability",
    ),
    error_of,
)
MEASURES = (ACCURACY, MACRO_F1, MICRO_F1, WEIGHTED_F1, ECE)


def class_answers(
    example_ids: Sequence[str],
    labels: IntArray,
    predictions: IntArray,
    confidences: FloatArray,
    *,
    num_classes: int,
    num_bins: int = 15,
) -> Answers:
    """Answers of one system with their statistics.

    Args:
        labels: gold classes, (N,).
        predictions: decided classes, (S, N), one row a seed.
        confidences: top-1 probabilities, (S, N).
        num_classes: C.
        num_bins: of the calibration error.

    Raises:
        ValueError: if there are no examples, the shapes differ or a class is out of range.
    """
    statistics = []
    for decided, sure in zip(predictions, confidences, strict=True):
        check_classes(labels, decided, num_classes=num_classes)
        correct = decided == labels
        by_class = class_statistics(labels, decided, num_classes=num_classes)
        statistics.append(
            {
                "accuracy": values(correct),
                "macro_f1": by_class,
                "micro_f1": by_class,
                "weighted_f1": by_class,
                "ece": calibration_statistics(sure, correct, num_bins=num_bins),
            }
        )
    return Answers(tuple(example_ids), labels, [*predictions], tuple(statistics), confidences)


def class_statistics(labels: IntArray, decided: IntArray, *, num_classes: int) -> Statistics:
    """Statistics (N, 3 C): hits | decided | support, a one in each where it is due."""
    examples = np.arange(labels.size)
    hit = decided == labels
    columns = np.concatenate([labels[hit], num_classes + decided, 2 * num_classes + labels])
    return sparse.csr_array(
        (np.ones(columns.size), (np.concatenate([examples[hit], examples, examples]), columns)),
        shape=(labels.size, 3 * num_classes),
    )


def class_table(
    answers: Answers, label_names: Sequence[str], *, system: str, seed_index: int = 0
) -> ClassTable:
    """Precision, recall, F1 and support per class and averaged, for one seed."""
    predictions = answers.predictions[seed_index]
    table = classification_table(answers.labels, predictions, num_classes=len(label_names))
    total = int(table.support.sum())

    def average(name: str) -> ClassRow:
        of = getattr(table, name)
        label = f"{name} avg"
        return ClassRow(
            label=label, precision=of.precision, recall=of.recall, f1=of.f1, support=total
        )

    rows = tuple(
        ClassRow(
            label=name,
            precision=float(table.precision[i]),
            recall=float(table.recall[i]),
            f1=float(table.f1[i]),
            support=int(table.support[i]),
        )
        for i, name in enumerate(label_names)
    )
    return ClassTable(
        system=system,
        accuracy=table.accuracy,
        rows=rows,
        micro=average("micro"),
        macro=average("macro"),
        weighted=average("weighted"),
    )


def calibrate(answers: Answers, *, num_bins: int, seed_index: int = 0) -> Calibration:
    """Reliability bins and ECE of one seed.

    Raises: ValueError if the answers have no confidences.
    """
    if answers.confidences is None:
        raise ValueError("these answers have no confidences to calibrate")
    correct = answers.predictions[seed_index] == answers.labels
    bins = reliability_bins(answers.confidences[seed_index], correct, num_bins=num_bins)
    rows = tuple(
        CalibrationBin(
            lower=float(bins.edges[i]),
            upper=float(bins.edges[i + 1]),
            count=int(bins.count[i]),
            mean_confidence=float(bins.confidence[i]) if bins.count[i] else None,
            accuracy=float(bins.accuracy[i]) if bins.count[i] else None,
        )
        for i in range(num_bins)
    )
    return Calibration(ece=expected_calibration_error(bins), bins=rows)


def frequent_confusions(
    answers: Answers, label_names: Sequence[str], *, limit: int = 12, seed_index: int = 0
) -> tuple[Confusion, ...]:
    """The most frequent mistakes of one seed; ties in label order."""
    counts = confusion_matrix(
        answers.labels, answers.predictions[seed_index], num_classes=len(label_names)
    )
    support = counts.sum(axis=1)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    return tuple(
        Confusion(
            label=label_names[int(row)],
            prediction=label_names[int(column)],
            count=int(wrong[row, column]),
            share=float(wrong[row, column] / support[row]),
        )
        for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[row, column] > 0
    )
