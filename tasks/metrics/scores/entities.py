"""Named entities: from tags of units to spans of characters, and how many spans are right.

A span is right if its start, its end and its type are. Scores add up over a test set: precision,
recall and F1 of all spans together (micro), and the mean F1 of the types that occur (macro).

Tags that no entity can have are repaired while decoding, as seqeval's default mode does: an I- tag
after O, or after another type, begins an entity.

    B-PER I-PER O I-LOC I-LOC B-LOC   ->   PER 0..1, LOC 3..4 (repaired), LOC 5

References: Tjong Kim Sang & De Meulder 2003 (scoring); Ramshaw & Marcus 1995 (the tags).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from data_contracts.evaluation import ClassRow, ClassTable, Metric
from tasks.metrics.statistics import (
    Measure,
    Statistics,
    f1_of,
    macro_f1_of,
    precision_of,
    recall_of,
    rows,
    totals,
)
from tasks.metrics.systems import Answers


class Span(NamedTuple):
    """An entity: characters of the text, the end exclusive."""

    start: int
    end: int
    label: str


ENTITY_F1 = Measure(
    Metric(name="entity_f1", display="entity F1", meaning="F1 of spans: start, end and type right"),
    f1_of,
)
PRECISION = Measure(Metric(name="precision", display="precision", compared=False), precision_of)
RECALL = Measure(Metric(name="recall", display="recall", compared=False), recall_of)
MACRO_F1 = Measure(
    Metric(
        name="macro_f1", display="macro-F1", meaning="mean F1 over the entity types of the test set"
    ),
    macro_f1_of,
)
MEASURES = (ENTITY_F1, MACRO_F1, PRECISION, RECALL)


def decode_tags(tags: Sequence[str], units: Sequence[tuple[int, int]]) -> tuple[list[Span], int]:
    """Spans that IOB2 tags name, and how many tags had to be repaired.

    Args:
        tags: O, B-<type> or I-<type> of each unit; may be fewer than the units (a cut text): the
            others are O.
        units: first character and the one after the last of each unit, in order.
    """
    found: list[Span] = []
    num_repaired = 0
    open_label = ""
    for tag, (start, end) in zip(tags, units, strict=False):
        prefix, _, label = tag.partition("-")
        if prefix == "I" and label == open_label:
            found[-1] = found[-1]._replace(end=end)
        elif label:
            num_repaired += prefix == "I"
            found.append(Span(start, end, label))
        open_label = label
    return found, num_repaired


def unreachable_spans(
    spans: Sequence[Span], units: Sequence[tuple[int, int]], *, num_read: int
) -> tuple[int, int]:
    """How many of a text's right spans no tags can name.

        units Köln | - | Deutz | , | Bonn, three of them read
        Köln can be named; Deut cannot, its end lies within a unit; Bonn cannot, it is not read

    Args:
        units: as `decode_tags` has them.
        num_read: units that have tags, from the first.
    Returns: those that begin or end within a unit, and those of the others that are not read whole.
    """
    starts = {start for start, _ in units}
    read = {end: number < num_read for number, (_, end) in enumerate(units)}
    fitting = [span for span in spans if span.start in starts and span.end in read]
    return len(spans) - len(fitting), sum(not read[span.end] for span in fitting)


def entity_types(tags: Sequence[str]) -> list[str]:
    """The types that a tag set names, in order of appearance."""
    return list(dict.fromkeys(label for tag in tags if (label := tag.partition("-")[2])))


def entity_answers(
    example_ids: Sequence[str],
    gold: Sequence[Sequence[Span]],
    predictions: Sequence[Sequence[Sequence[Span]]],
    types: Sequence[str],
) -> Answers:
    """Answers of one system with their statistics.

    Args:
        gold: right spans of N texts.
        predictions: for each seed the spans of N texts.
        types: all entity types.
    """
    statistics = []
    for found in predictions:
        by_type = type_statistics(gold, found, types)
        parts = [by_type[:, i * len(types) : (i + 1) * len(types)] for i in range(3)]
        together = rows(np.stack([np.asarray(part.sum(axis=1)).ravel() for part in parts], axis=1))
        statistics.append(
            {
                "entity_f1": together,
                "precision": together,
                "recall": together,
                "macro_f1": by_type,
            }
        )
    return Answers(tuple(example_ids), [*gold], [*predictions], tuple(statistics))


def type_statistics(
    gold: Sequence[Sequence[Span]], predictions: Sequence[Sequence[Span]], types: Sequence[str]
) -> Statistics:
    """Statistics (N, 3 T): hits | decided | gold spans, by type.

    Raises: ValueError if a span has an unknown type or the numbers of texts differ.
    """
    number = {label: i for i, label in enumerate(types)}
    entries: list[tuple[int, int]] = []
    for row, (right, decided) in enumerate(zip(gold, predictions, strict=True)):
        right_set, decided_set = set(right), set(decided)
        for part, spans in enumerate((right_set & decided_set, decided_set, right_set)):
            for span in spans:
                if span.label not in number:
                    raise ValueError(f"a span of type {span.label!r}; types: {', '.join(types)}")
                entries.append((row, part * len(types) + number[span.label]))
    places = np.array(entries, dtype=np.int64).reshape(-1, 2)
    table = sparse.csr_array(
        (np.ones(len(places)), (places[:, 0], places[:, 1])), shape=(len(gold), 3 * len(types))
    )
    table.sum_duplicates()
    return table


def entity_table(answers: Answers, types: Sequence[str], *, system: str) -> ClassTable:
    """Precision, recall, F1 and support per entity type and averaged, for seed 0.

    `support` counts spans; averages run over the types that occur in the test set.
    """
    sums = totals(answers.statistics[0]["macro_f1"]).reshape(3, len(types)).T
    precision, recall, f1 = precision_of(sums), recall_of(sums), f1_of(sums)
    support = sums[:, 2]
    occurs, total = support > 0, float(support.sum())
    pooled = sums.sum(axis=0)

    def row(label: str, *figures: float, spans: float) -> ClassRow:
        exact, complete, both = map(float, figures)
        return ClassRow(
            label=label, precision=exact, recall=complete, f1=both, support=round(spans)
        )

    def mean(weights: np.ndarray) -> list[float]:
        shares = weights / max(float(weights.sum()), 1e-12)
        return [float(part @ shares) for part in (precision, recall, f1)]

    return ClassTable(
        system=system,
        accuracy=None,
        unit="entity type",
        rows=tuple(
            row(label, precision[i], recall[i], f1[i], spans=support[i])
            for i, label in enumerate(types)
        ),
        micro=row(
            "micro avg",
            *(float(score(pooled)) for score in (precision_of, recall_of, f1_of)),
            spans=total,
        ),
        macro=row("macro avg", *mean(occurs.astype(np.float64)), spans=total),
        weighted=row("weighted avg", *mean(support), spans=total),
    )
