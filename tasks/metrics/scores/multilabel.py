"""Any number of C classes for a text: F1 of the decisions, and the share of texts wholly right.

Each class is decided by its own threshold on its probability. Thresholds are tuned on validation
rows only; a class that has none there keeps 0.5.

Shapes: N texts, C classes, S seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from data_contracts.evaluation import ClassRow, ClassTable, Metric
from tasks.metrics.scores.classification import FloatArray, IntArray
from tasks.metrics.statistics import (
    Measure,
    f1_of,
    macro_f1_of,
    mean_of,
    micro_f1_of,
    precision_of,
    recall_of,
    rows,
    totals,
    values,
)
from tasks.metrics.systems import Answers

DEFAULT_THRESHOLD = 0.5

MICRO_F1 = Measure(
    Metric(
        name="micro_f1", display="micro-F1", meaning="F1 of the decisions of all classes together"
    ),
    micro_f1_of,
)
MACRO_F1 = Measure(
    Metric(
        name="macro_f1",
        display="macro-F1",
        meaning="mean F1 over the classes that occur in the test labels",
    ),
    macro_f1_of,
)
SUBSET_ACCURACY = Measure(
    Metric(
        name="subset_accuracy",
        display="subset accuracy",
        meaning="share of texts of which all classes are decided rightly",
    ),
    mean_of,
    is_mean=True,
)
MEASURES = (MICRO_F1, MACRO_F1, SUBSET_ACCURACY)


def decided_classes(
    logits_NC: FloatArray, thresholds_C: FloatArray | float = DEFAULT_THRESHOLD
) -> IntArray:
    """1 where a class's probability reaches its threshold, else 0: int64, (N, C)."""
    return (expit(logits_NC.astype(np.float64)) >= thresholds_C).astype(np.int64)


def multilabel_answers(
    example_ids: Sequence[str],
    labels_NC: IntArray,
    runs: Sequence[IntArray],
) -> Answers:
    """Answers of one system with their statistics.

    Args:
        labels_NC: 0 and 1, (N, C).
        runs: for each seed its decisions, 0 and 1, (N, C).

    Raises:
        ValueError: if there are no texts or the shapes differ.
    """
    statistics = []
    for decided in runs:
        if decided.shape != labels_NC.shape or not len(labels_NC):
            raise ValueError(f"labels {labels_NC.shape} and decisions {decided.shape} differ")
        parts = (decided & labels_NC, decided, labels_NC)
        by_class = rows(np.concatenate(parts, axis=1))
        # Three numbers a text, not three a class: a permutation test multiplies them all.
        together = rows(np.stack([part.sum(axis=1) for part in parts], axis=1))
        statistics.append(
            {
                "micro_f1": together,
                "macro_f1": by_class,
                "subset_accuracy": values((decided == labels_NC).all(axis=1)),
            }
        )
    as_sets = [_sets(decided) for decided in runs]
    return Answers(tuple(example_ids), _sets(labels_NC), as_sets, tuple(statistics))


def tune_thresholds(probabilities_NC: FloatArray, labels_NC: IntArray) -> FloatArray:
    """For each class the threshold of the best F1 on validation rows.

    Halfway between the two probabilities it separates; of equally good ones that nearest to 0.5. A
    class without a positive row keeps 0.5: there is nothing to learn its threshold from.

    Args:
        probabilities_NC: sigmoid probabilities, (N, C).
        labels_NC: 0 and 1, (N, C).

    Returns: (C,); a class is decided where its probability is at least its threshold.
    """
    thresholds = np.full(labels_NC.shape[1], DEFAULT_THRESHOLD)
    for which in np.flatnonzero(labels_NC.any(axis=0)):
        order = np.argsort(-probabilities_NC[:, which], kind="stable")
        scores = probabilities_NC[order, which].astype(np.float64)
        hits = np.cumsum(labels_NC[order, which])
        decided = np.arange(1, len(order) + 1)
        f1 = 2 * hits / (decided + hits[-1])
        following = np.append(scores[1:], 0.0)
        separates = scores > following
        cuts = (scores + following) / 2
        around = (following < DEFAULT_THRESHOLD) & (scores >= DEFAULT_THRESHOLD)
        cuts = np.where(around, DEFAULT_THRESHOLD, cuts)
        good = cuts[separates & (f1 >= f1[separates].max() - 1e-12)] if separates.any() else cuts
        thresholds[which] = good[np.abs(good - DEFAULT_THRESHOLD).argmin()]
    return thresholds


def multilabel_table(answers: Answers, label_names: Sequence[str], *, system: str) -> ClassTable:
    """Precision, recall, F1 and support per class and averaged, for seed 0."""
    sums = totals(answers.statistics[0]["macro_f1"]).reshape(3, len(label_names)).T
    figures = np.stack([precision_of(sums), recall_of(sums), f1_of(sums)], axis=1)
    support = sums[:, 2]
    pooled = sums.sum(axis=0)

    def row(label: str, of: Sequence[float] | FloatArray, support: float) -> ClassRow:
        exact, complete, both = map(float, of)
        return ClassRow(
            label=label, precision=exact, recall=complete, f1=both, support=round(support)
        )

    def mean(weights: FloatArray) -> FloatArray:
        return weights @ figures / max(float(weights.sum()), 1e-12)

    total = float(support.sum())
    return ClassTable(
        system=system,
        accuracy=float(mean_of(totals(answers.statistics[0]["subset_accuracy"]))),
        rows=tuple(row(name, figures[i], support[i]) for i, name in enumerate(label_names)),
        micro=row(
            "micro avg",
            [float(score(pooled)) for score in (precision_of, recall_of, f1_of)],
            total,
        ),
        macro=row("macro avg", mean((support > 0).astype(np.float64)), total),
        weighted=row("weighted avg", mean(support), total),
    )


def _sets(decisions_NC: IntArray) -> list[tuple[int, ...]]:
    return [tuple(np.flatnonzero(row).tolist()) for row in decisions_NC]
