"""How alike two forms of one model answer real rows: the share of answers, as a consumer sees them.

    classification, matching    the likeliest class of a text
    multilabel_classification   labels over their thresholds: 2·|A ∩ B| / (|A| + |B|) over all
                                texts, because nearly all of many labels agree on being absent
    token_classification        the likeliest tag of a unit
    question_answering          the span of a context, or that there is none
    sentence_embedding          whether a vector is nearest to that of its own text

Shapes: A answers (texts, or units read out of them), C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.metrics.answer_spans import longest_answer
from tasks.problems import Answers
from tasks.problems.question_answering import best_span, contexts

Agreement = Callable[
    [pa.Table, Answers, np.ndarray, np.ndarray, Mapping[str, Any]], tuple[float, int]
]
"""(rows, what they are answered with, one form's logits, the other's, serving.json) → the share of
equal answers in [0, 1], and of how many."""


def _of_classes(table, answers, ours, theirs, serving) -> tuple[float, int]:
    del table, answers, serving
    return float((ours.argmax(1) == theirs.argmax(1)).mean()), len(ours)


def _of_label_sets(table, answers, ours, theirs, serving) -> tuple[float, int]:
    del table, answers
    bounds = logit(np.asarray(serving["thresholds"], np.float64))
    total = int((ours >= bounds).sum() + (theirs >= bounds).sum())
    common = int(((ours >= bounds) & (theirs >= bounds)).sum())
    return (2 * common / total if total else 1.0), len(ours)


def _of_spans(table, answers, ours, theirs, serving) -> tuple[float, int]:
    decided_by = {
        "null_threshold": serving["null_threshold"],
        "max_units": longest_answer(serving),
    }
    spans = [
        [best_span(one, **decided_by) for one in contexts(table, logits, answers.units)]
        for logits in (ours, theirs)
    ]
    equal = [one == other for one, other in zip(*spans, strict=True)]
    return float(np.mean(equal)), len(equal)


def _of_vectors(table, answers, ours, theirs, serving) -> tuple[float, int]:
    del table, answers, serving
    own = (ours * theirs).sum(axis=1)
    # A text that occurs twice is as near to its copy.
    return float((own >= (ours @ theirs.T).max(axis=1) - 1e-6).mean()), len(ours)


def logit(probabilities: np.ndarray) -> np.ndarray:
    """The logits whose sigmoid these are; 0 and 1 give infinities."""
    with np.errstate(divide="ignore"):
        return np.log(probabilities) - np.log1p(-probabilities)


AGREEMENTS: dict[str, Agreement] = {
    "text_classification": _of_classes,
    "multilabel_classification": _of_label_sets,
    "matching": _of_classes,
    "token_classification": _of_classes,
    "question_answering": _of_spans,
    "sentence_embedding": _of_vectors,
}
