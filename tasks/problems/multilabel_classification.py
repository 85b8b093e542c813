"""Multi-label classification: one text, any number of C classes.

    row      text, labels (a list of class names, which may be empty)
    head     pooled hidden states → linear layer, C logits
    loss     each class on its own: binary soft targets and binary cross-entropy
    metrics  micro-F1, macro-F1 over the classes present, subset accuracy
    decode   every class whose sigmoid passes its threshold (tuned on validation rows; 0.5 here)

A softmax would force the classes to share one unit of probability, which texts with two topics, or
none, contradict.

Shapes: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from tasks.problems.problem import IGNORE_INDEX, Answers, Distribution, TeacherOutput
from tasks.problems.whole_texts import WholeTextProblem


class MultilabelClassification(WholeTextProblem):
    """One text, any of C classes."""

    name = "multilabel_classification"
    metrics = ("micro_f1", "macro_f1", "subset_accuracy")
    has_thresholds = True
    score_version = 2
    distribution: ClassVar[Distribution] = "binary"
    token_columns = ("example_id", "input_ids", "labels")

    def answers(self, table: pa.Table, *, num_labels: int) -> Answers:
        """(N, C) of 0 and 1; a row whose `labels` are null is IGNORE_INDEX throughout."""
        column = table["labels"].combine_chunks()
        counts = np.asarray(column.value_lengths().fill_null(0), dtype=np.int64)
        unlabelled = np.asarray(column.is_null())
        labels_NC = np.zeros((len(table), num_labels), dtype=np.int64)
        labels_NC[np.repeat(np.arange(len(table)), counts), np.asarray(column.flatten())] = 1
        labels_NC[unlabelled] = IGNORE_INDEX
        return Answers(None, labels_NC)

    def decisions(self, from_teacher: TeacherOutput) -> np.ndarray:
        """1 where a class reaches the teacher's threshold, one half if it has none; (N, C)."""
        from tasks.metrics.scores.multilabel import DEFAULT_THRESHOLD, decided_classes

        own = from_teacher.thresholds.get("thresholds", DEFAULT_THRESHOLD)
        return decided_classes(from_teacher.logits, own)

    def thresholds(self, table: pa.Table, logits: np.ndarray, answers: Answers) -> dict[str, Any]:
        """`thresholds`: for each class the probability that decides it, of the best F1."""
        del table
        return {"thresholds": _tuned(logits, answers.labels).tolist()}

    def score(
        self, table: pa.Table, logits: np.ndarray, answers: Answers, *, labels: Sequence[str]
    ) -> dict[str, float]:
        """`micro_f1`, `macro_f1`, `subset_accuracy`, in [0, 1]; `loss` in nats a class.

        With the thresholds that these rows give, as the model is delivered: at one half a model of
        many rare classes decides none of them for long, and every step would be as good.
        """
        del table, labels
        from tasks.metrics.scores.multilabel import decided_classes
        from tasks.metrics.statistics import macro_f1_of, micro_f1_of

        gold_NC = answers.labels
        decided_NC = decided_classes(logits, _tuned(logits, gold_NC))
        # scikit-learn would take one column for two classes, yes and no, and score both.
        counts = np.concatenate(
            [part.sum(axis=0) for part in (decided_NC & gold_NC, decided_NC, gold_NC)]
        )
        x = logits.astype(np.float64)
        # log(1 + e^x) - x·y, written so that neither end overflows
        losses = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))) - x * gold_NC
        return {
            "micro_f1": float(micro_f1_of(counts)),
            "macro_f1": float(macro_f1_of(counts)),
            "subset_accuracy": float((gold_NC == decided_NC).all(axis=1).mean()),
            "loss": float(losses.mean()),
        }


def _tuned(logits_NC: np.ndarray, gold_NC: np.ndarray) -> np.ndarray:
    """For each class the probability that decides it, of the best F1: float64, (C,)."""
    from tasks.metrics.scores.multilabel import tune_thresholds

    return tune_thresholds(1 / (1 + np.exp(-logits_NC.astype(np.float64))), gold_NC)
