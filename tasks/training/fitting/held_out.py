"""The labelled rows that choose the step, and what a network says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from data_contracts.errors import ContractViolation
from tasks.corpus.tokens.facts import read_token_facts
from tasks.problems import Answers, Problem
from tasks.problems.sentence_embedding import EMBEDDING
from tasks.training.batching.examples import examples_of, read_labels, read_rows
from tasks.training.batching.signal_join import SignalJoin
from tasks.training.fitting.inference import predict_rows
from tasks.training.losses import IGNORE_INDEX


class HeldOut:
    """Validation rows of a tokens artifact, read once.

    Args:
        task: how they are scored.
        tokens: folder of the artifact.
        language: of the rows; all that were read if None.
        pad_token_id: of its tokenizer.
        precision: resolved.
        signals: folder of the teacher's, of the validation rows too, where answers are vectors.
    Raises: ContractViolation if there are no rows, or one has no label.
    """

    def __init__(
        self,
        task: Problem,
        tokens: Path,
        *,
        language: str | None,
        pad_token_id: int,
        precision: str,
        signals: Path | None = None,
    ) -> None:
        """Read them."""
        facts = read_token_facts(tokens)
        self._task, self._labels = task.as_read(facts), read_labels(tokens)
        self._rows = _labelled_rows(task, tokens, self._labels, language, signals)
        self._pad_token_id, self._precision = pad_token_id, precision

    def said_by(self, model: nn.Module) -> tuple[np.ndarray, Answers]:
        """Logits (A, C) of all rows, and the answers that they are."""
        return predict_rows(
            model,
            self._task,
            self._rows,
            num_labels=len(self._labels),
            pad_token_id=self._pad_token_id,
            precision=self._precision,
        )

    def score(self, logits: np.ndarray, answers: Answers) -> dict[str, float]:
        """The problem's figures of what a network said."""
        return self._task.score(self._rows, logits, answers, labels=self._labels)

    def thresholds(self, model: nn.Module) -> dict[str, Any]:
        """Where a trained network's decisions are best cut, for problems that have thresholds."""
        return self._task.thresholds(self._rows, *self.said_by(model))


def _labelled_rows(
    task: Problem, tokens: Path, labels: Sequence[str], language: str | None, signals: Path | None
) -> pa.Table:
    """The rows, joined with the teacher's vectors where answers are such."""
    rows = read_rows(tokens, ["validation"], language=language)
    if signals is not None:
        said = SignalJoin(signals, labels).rows("validation/part-00000.parquet", rows)
        return rows.append_column(EMBEDDING, said[EMBEDDING])
    found = examples_of(task, rows, labels).labels
    if missing := int((found == IGNORE_INDEX).sum()):
        raise ContractViolation(
            f"{missing} of {found.size} answers to the validation rows have no label",
            rule="the best step is chosen on labelled validation rows",
            remedy="map the columns of the validation source that hold labels",
        )
    return rows
