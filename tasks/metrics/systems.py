"""From a system's answers to the records of the report: scores, comparisons, retention.

`Answers` is one test set answered by one system with one or several seeds. Two systems that hold
the same example ids in the same order are compared in pairs; otherwise both test sets are resampled
independently and the record says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from data_contracts.evaluation import (
    Calibration,
    CalibrationBin,
    ClassRow,
    ClassTable,
    Comparison,
    Confusion,
    MetricName,
    Retention,
    Scores,
    Spread,
)
from tasks.metrics.calibration import expected_calibration_error, reliability_bins
from tasks.metrics.classification import (
    FloatArray,
    IntArray,
    classification_table,
    confusion_matrix,
)
from tasks.metrics.intervals import (
    ResampledScore,
    difference_interval,
    paired_p_value,
    ratio_interval,
    resample_scores,
)

METRICS: tuple[MetricName, ...] = get_args(MetricName)


@dataclass(frozen=True)
class Answers:
    """What one system answered on its test set.

    Args:
        example_ids: N ids, which decide whether two systems can be paired.
        labels: gold classes, (N,).
        predictions: decided classes, (S, N), one row a seed.
        confidences: top-1 probabilities, (S, N).
    """

    example_ids: tuple[str, ...]
    labels: IntArray
    predictions: IntArray
    confidences: FloatArray

    def of_seed(self, index: int) -> Answers:
        """The answers of one seed alone: seed 0 is the model that ships."""
        rows = slice(index, index + 1)
        return replace(self, predictions=self.predictions[rows], confidences=self.confidences[rows])


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: shared by all comparisons of a report."""

    num_classes: int
    num_resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0


def scores_by_seed(answers: Answers, *, num_classes: int, num_bins: int) -> tuple[Scores, ...]:
    """Scores of each seed."""
    found = []
    for i, predictions in enumerate(answers.predictions):
        table = classification_table(answers.labels, predictions, num_classes=num_classes)
        calibration = calibrate(answers, num_bins=num_bins, seed_index=i)
        found.append(
            Scores(
                accuracy=table.accuracy,
                macro_f1=table.macro.f1,
                micro_f1=table.micro.f1,
                weighted_f1=table.weighted.f1,
                ece=calibration.ece,
            )
        )
    return tuple(found)


def mean_and_spread(seeds: Sequence[Scores]) -> tuple[Scores, Spread | None]:
    """Mean over seeds and sample standard deviation (ddof = 1), which one seed does not have."""
    names = tuple(Scores.model_fields)
    values = np.array([[getattr(scores, name) for name in names] for scores in seeds])
    mean = dict(zip(names, values.mean(axis=0).tolist(), strict=True))
    if len(seeds) == 1:
        return Scores(**mean), None
    return Scores(**mean), Spread(
        **dict(zip(names, values.std(axis=0, ddof=1).tolist(), strict=True))
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
    """Reliability bins and ECE of one seed."""
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


def compare(
    answers: dict[str, Answers], of: str, against: str, resampling: Resampling
) -> tuple[Comparison, ...]:
    """`of` minus `against` on every metric, paired if both answered the same examples.

    Systems with several seeds are compared by the mean over them: a statement about how they were
    trained. For one about the model that ships, give `Answers.of_seed(0)`.
    """
    first, second = answers[of], answers[against]
    paired = _same_examples(first, second)
    found = []
    for metric in METRICS:
        score, reference = _resampled(first, second, metric, resampling)
        interval = difference_interval(score, reference, confidence=resampling.confidence)
        p_value = None
        if paired and metric == "accuracy":
            p_value = paired_p_value(
                first.labels, first.predictions, second.predictions, seed=resampling.seed
            )
        found.append(
            Comparison(
                name=f"{of}_minus_{against}",
                of=of,
                against=against,
                metric=metric,
                difference=interval.estimate,
                low=interval.low,
                high=interval.high,
                confidence=interval.confidence,
                num_examples=len(first.labels),
                num_examples_against=len(second.labels),
                paired=paired,
                p_value=p_value,
            )
        )
    return tuple(found)


def retain(student: Answers, teacher: Answers, resampling: Resampling) -> tuple[Retention, ...]:
    """Student's share of the teacher's score on every metric; none where the teacher scores 0."""
    found = []
    for metric in METRICS:
        score, reference = _resampled(student, teacher, metric, resampling)
        if reference.estimate <= 0 or reference.resamples.min() <= 0:
            continue
        interval = ratio_interval(score, reference, confidence=resampling.confidence)
        found.append(
            Retention(
                metric=metric,
                value=interval.estimate,
                low=interval.low,
                high=interval.high,
                confidence=interval.confidence,
                paired=_same_examples(student, teacher),
                num_examples_student=len(student.labels),
                num_examples_teacher=len(teacher.labels),
            )
        )
    return tuple(found)


def _same_examples(first: Answers, second: Answers) -> bool:
    return first.example_ids == second.example_ids


def _resampled(
    first: Answers, second: Answers, metric: MetricName, resampling: Resampling
) -> tuple[ResampledScore, ResampledScore]:
    def scored(answers: Answers, others: Sequence[Answers], stream: str) -> list[ResampledScore]:
        return resample_scores(
            answers.labels,
            [answers.predictions, *(other.predictions for other in others)],
            metric=metric,
            num_classes=resampling.num_classes,
            num_resamples=resampling.num_resamples,
            seed=resampling.seed,
            stream=stream,
        )

    if _same_examples(first, second):
        score, reference = scored(first, [second], "paired")
    else:
        [score], [reference] = scored(first, [], "first"), scored(second, [], "second")
    return score, reference
