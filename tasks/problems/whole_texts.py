"""Problems with one answer a text: what their files share.

Shapes: N texts, A = N answers, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from tasks.problems.problem import Answers, Problem

if TYPE_CHECKING:
    from tasks.modeling.config import PairReading
    from tasks.modeling.heads.classifier import EncoderWithHead


class WholeTextProblem(Problem):
    """Pooled hidden states → linear layer, C logits a text."""

    signal_column: ClassVar[str] = "logits"
    """Where the signals hold what the teacher said."""

    def network(self, pairs: PairReading) -> type[EncoderWithHead]:
        """Encoder, pooling, dropout and a linear head."""
        del pairs
        from tasks.modeling.heads.classifier import EncoderClassifier

        return EncoderClassifier

    def answers(self, table: pa.Table, *, num_labels: int) -> Answers:
        """The `label` column; no units."""
        del num_labels
        return Answers(None, table["label"].to_numpy().astype(np.int64))

    def soft_targets(
        self, table: pa.Table, signals: pa.Table, answers: Answers, *, order: Sequence[int]
    ) -> tuple[np.ndarray, Answers]:
        """The signals' fixed-size lists, classes in the student's order."""
        del table
        logits = as_matrix(signals[self.signal_column])
        return np.ascontiguousarray(logits[:, list(order)]), answers

    def signal_table(self, table: pa.Table, logits: np.ndarray, answers: Answers) -> pa.Table:
        """example_id, and what the teacher said as lists of fixed size."""
        del answers
        values: Any = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), logits.shape[1])
        return pa.table({"example_id": table["example_id"], self.signal_column: values})

    def soft_labels(self, signals: pa.Table, *, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
        """One answer a row."""
        logits = as_matrix(signals[self.signal_column])
        assert logits.shape[1] == num_labels
        return logits, np.ones(len(signals), dtype=np.int64)

    def restated(self, ids: pa.Array, logits: np.ndarray, counts: np.ndarray) -> pa.Table:
        """example_id, logits as lists of fixed size."""
        nothing = Answers(None, np.empty(0, dtype=np.int64))
        return self.signal_table(pa.table({"example_id": ids}), logits, nothing)


def as_matrix(column: pa.ChunkedArray) -> np.ndarray:
    """A column of lists of one fixed size as float32: (rows, size)."""
    flat = column.combine_chunks().flatten()
    return np.asarray(flat, dtype=np.float32).reshape(len(column), column.type.list_size)


def log_softmax(logits_NC: np.ndarray) -> np.ndarray:
    """log softmax over the last axis, float64."""
    shifted_NC = logits_NC.astype(np.float64) - logits_NC.max(-1, keepdims=True)
    return shifted_NC - np.log(np.exp(shifted_NC).sum(-1, keepdims=True))
