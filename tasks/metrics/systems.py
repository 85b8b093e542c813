"""From a system's answers to the records of the report: scores, comparisons, retention.

`Answers` is one test set answered by one system with one or several seeds. Two systems that hold
the same example ids in the same order are compared in pairs; otherwise both test sets are resampled
independently and the record says so. Nothing here knows a problem type: answers bring statistics
(`tasks.metrics.statistics`), measures say what becomes of their sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from data_contracts.evaluation import TEACHER, Comparison, Group, Retention, Scores
from tasks.metrics.intervals import (
    ResampledScore,
    difference_interval,
    paired_p_value,
    ratio_interval,
    resample_scores,
)
from tasks.metrics.scores.classification import FloatArray
from tasks.metrics.statistics import Measure, Statistics, scores_of


@dataclass(frozen=True)
class Answers:
    """What one system answered on its test set.

    Args:
        example_ids: N ids, which decide whether two systems can be paired.
        labels: the right answers, N: class indices, lists of spans, texts.
        predictions: the system's, of the same kind, (S, N): one row a seed.
        statistics: for each seed, by metric, its statistics (N, K).
        confidences: top-1 probabilities, (S, N), where the problem has them.
        asked: which examples a metric is about, where a test set holds examples of two kinds; a
            metric that is not named is about all.
    """

    example_ids: tuple[str, ...]
    labels: Any
    predictions: Sequence[Any]
    statistics: tuple[Mapping[str, Statistics], ...]
    confidences: FloatArray | None = None
    asked: Mapping[str, slice] = field(default_factory=dict)

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.example_ids)

    def of_seed(self, index: int) -> Answers:
        """The answers of one seed alone: seed 0 is the model that ships."""
        rows = slice(index, index + 1)
        return replace(
            self,
            predictions=self.predictions[rows],
            statistics=self.statistics[rows],
            confidences=None if self.confidences is None else self.confidences[rows],
        )

    def of(self, metric: str) -> list[Statistics]:
        """The statistics of one metric, one entry a seed."""
        return [one[metric] for one in self.statistics]

    def about(self, metric: str) -> Answers:
        """Those to the examples that the metric is about, alone."""
        rows = self.asked.get(metric)
        if rows is None:
            return self
        return Answers(
            self.example_ids[rows],
            self.labels[rows],
            [run[rows] for run in self.predictions],
            tuple({name: found[rows] for name, found in one.items()} for one in self.statistics),
            None if self.confidences is None else self.confidences[:, rows],
        )


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: shared by all comparisons of a report."""

    num_resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0


def scores_by_seed(answers: Answers, measures: Sequence[Measure]) -> tuple[Scores, ...]:
    """Scores of each seed; metrics it has no statistics for are left out."""
    return tuple(scores_of(found, measures) for found in answers.statistics)


def mean_and_spread(seeds: Sequence[Scores]) -> tuple[Scores, Scores | None]:
    """Mean over seeds and sample standard deviation (ddof = 1), which one seed does not have."""
    names = tuple(seeds[0])
    values = np.array([[scores[name] for name in names] for scores in seeds])
    mean = dict(zip(names, values.mean(axis=0).tolist(), strict=True))
    if len(seeds) == 1:
        return mean, None
    return mean, dict(zip(names, values.std(axis=0, ddof=1).tolist(), strict=True))


def compare(
    answers: Mapping[str, Answers],
    of: str,
    against: str,
    measures: Sequence[Measure],
    resampling: Resampling,
) -> tuple[Comparison, ...]:
    """`of` minus `against` on every compared metric, paired if both answered the same examples.

    Systems with several seeds are compared by the mean over them: a statement about how they were
    trained. For one about the model that ships, give `Answers.of_seed(0)`.
    """
    found = []
    for measure in _compared(measures):
        first, second = (answers[name].about(measure.name) for name in (of, against))
        paired = _same_examples(first, second)
        score, reference = _resampled(first, second, measure, resampling)
        interval = difference_interval(score, reference, confidence=resampling.confidence)
        p_value = None
        if paired and measure is measures[0]:
            p_value = paired_p_value(
                first.of(measure.name), second.of(measure.name), measure, seed=resampling.seed
            )
        found.append(
            Comparison(
                name=f"{of}_minus_{against}",
                of=of,
                against=against,
                metric=measure.name,
                difference=interval.estimate,
                low=interval.low,
                high=interval.high,
                confidence=interval.confidence,
                num_examples=first.num_examples,
                num_examples_against=second.num_examples,
                paired=paired,
                p_value=p_value,
            )
        )
    return tuple(found)


def retain(
    student: Answers,
    teacher: Answers,
    measures: Sequence[Measure],
    resampling: Resampling,
    *,
    against: str = TEACHER,
) -> tuple[Retention, ...]:
    """Student's share of the teacher's score on every compared metric.

    Metrics are left out where the teacher scores zero on the test set or on a resample of it.
    """
    found = []
    for measure in _compared(measures):
        ours, theirs = student.about(measure.name), teacher.about(measure.name)
        score, reference = _resampled(ours, theirs, measure, resampling)
        if reference.estimate <= 0 or reference.resamples.min() <= 0:
            continue
        interval = ratio_interval(score, reference, confidence=resampling.confidence)
        found.append(
            Retention(
                against=against,
                metric=measure.name,
                value=interval.estimate,
                low=interval.low,
                high=interval.high,
                confidence=interval.confidence,
                paired=_same_examples(ours, theirs),
                num_examples_student=ours.num_examples,
                num_examples_teacher=theirs.num_examples,
            )
        )
    return tuple(found)


def on_same_examples(answers: Mapping[str, Answers]) -> dict[str, Answers]:
    """The systems that answered the student's examples, itself included."""
    student = answers["student"]
    return {name: one for name, one in answers.items() if _same_examples(one, student)}


def group_scores(
    answers: Mapping[str, Answers],
    parts: Sequence[str | None],
    measures: Sequence[Measure],
    *,
    column: str,
) -> tuple[Group, ...]:
    """Scores of all systems on each part of one test set, means over seeds; sorted by value.

    Args:
        answers: systems that answered the same N examples.
        parts: for each example the part it belongs to; None: to none.
        column: what the parts are called.
    """
    of_examples = np.array(["" if part is None else f"={part}" for part in parts])
    found = []
    for value in np.unique(of_examples[of_examples != ""]).tolist():
        chosen = np.flatnonzero(of_examples == value)
        scores = {}
        for name, one in answers.items():
            seeds = [
                scores_of({key: rows[chosen] for key, rows in run.items()}, measures)
                for run in one.statistics
            ]
            scores[name] = mean_and_spread(seeds)[0]
        found.append(Group(column=column, value=value[1:], num_examples=len(chosen), scores=scores))
    return tuple(found)


def _compared(measures: Sequence[Measure]) -> list[Measure]:
    return [measure for measure in measures if measure.metric.compared]


def _same_examples(first: Answers, second: Answers) -> bool:
    return first.example_ids == second.example_ids


def _resampled(
    first: Answers, second: Answers, measure: Measure, resampling: Resampling
) -> tuple[ResampledScore, ResampledScore]:
    def scored(stream: str, *answers: Answers) -> list[ResampledScore]:
        return resample_scores(
            [one.of(measure.name) for one in answers],
            score=measure.score,
            num_resamples=resampling.num_resamples,
            seed=resampling.seed,
            stream=stream,
        )

    if _same_examples(first, second):
        score, reference = scored("paired", first, second)
    else:
        [score], [reference] = scored("first", first), scored("second", second)
    return score, reference
