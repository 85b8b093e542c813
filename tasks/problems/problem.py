"""What a problem type must say of itself; each file beside this one answers for one.

A model answers with logits: one row of C for a text, or one for each of its units (words or
characters). What differs between problems is which rows of the tokens and signals these answers
belong to, what they are trained against and how they are scored; the engine in `tasks.training` is
the same for all.

    tokens table  ── answers() ──► units read out, hard labels      ┐
    signal table  ── soft_targets(), decisions() ──► teacher logits ├► engine ► logits
    logits        ── signal_table() ──► what a teacher leaves behind
    signal table  ◄── soft_labels(), restated() ──► logits of several teachers, to be one
    logits        ── score() ──► validation figures

Shapes: N texts (rows of a tokens table), A answers, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedModel

    from tasks.modeling.config import PairReading, Pooling
    from tasks.modeling.heads.classifier import EncoderWithHead
    from tasks.modeling.heads.units import Units

IGNORE_INDEX = -1
"""Label of an answer that has none."""

Distribution = Literal["classes", "units", "binary", "vectors"]
"""What a softmax runs over: the classes of an answer, the units of a text, or each class alone;
nothing at all where an answer is a vector."""


@dataclass(frozen=True)
class Answers:
    """What the rows of a tokens table are to be answered with.

    Args:
        units: the units read out, or None if each text is one answer.
        labels: int64, (A,), IGNORE_INDEX where there is none; (A, C) of 0 and 1, or IGNORE_INDEX
            throughout a row, where several classes may be right; float32, (A, D), where answers
            are vectors and known.
    """

    units: Units | None
    labels: np.ndarray


@dataclass(frozen=True)
class TeacherOutput:
    """Rows that a student is to learn, and what a teacher said of them.

    Args:
        table, signals: as `Problem.soft_targets` has them.
        logits, answers: what it returns.
        thresholds: of `Problem.thresholds`, as the teacher keeps them, classes in the student's
            order; empty if it has none.
    """

    table: pa.Table
    signals: pa.Table
    logits: np.ndarray
    answers: Answers
    thresholds: Mapping[str, Any]


class Problem(ABC):
    """One problem type. Stateless: the instances are kept in `tasks.problems.PROBLEMS`."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    """Validation figures beside `loss`, the primary one first; larger is better."""
    score_version: ClassVar[int] = 1
    """Bumped by hand when `score` gives other figures of the same answers: other steps are chosen
    by them. Keys of this problem's trained models hold it, and of no other's."""
    distribution: ClassVar[Distribution] = "classes"
    token_columns: ClassVar[tuple[str, ...]] = ("example_id", "input_ids", "label")
    """Columns of a tokens table that training reads."""
    row_key: ClassVar[tuple[str, ...]] = ("example_id",)
    """Columns that tell the rows of a tokens table apart."""
    signals_contract: ClassVar[str] = "teacher_signals"
    has_thresholds: ClassVar[bool] = False

    def as_read(self, facts: Mapping[str, Any]) -> Problem:
        """This problem, decided as the reader does whose tokens.json holds `facts`."""
        del facts
        return self

    def build_model(
        self,
        backbone: PreTrainedModel,
        *,
        num_labels: int,
        pooling: Pooling,
        dropout: float,
        pairs: PairReading = "together",
    ) -> EncoderWithHead:
        """The network on top of an encoder, its head freshly drawn.

        Args:
            pairs: how the two texts of a pair are read; `apart` is for matching alone.
        """
        network = self.network(pairs)
        return network(backbone, num_labels=num_labels, pooling=pooling, dropout=dropout)

    @abstractmethod
    def network(self, pairs: PairReading) -> type[EncoderWithHead]:
        """The class of that network; imported here, so that naming a problem loads no torch."""

    @abstractmethod
    def answers(self, table: pa.Table, *, num_labels: int) -> Answers:
        """Units and hard labels of the rows of a tokens table."""

    @abstractmethod
    def soft_targets(
        self, table: pa.Table, signals: pa.Table, answers: Answers, *, order: Sequence[int]
    ) -> tuple[np.ndarray, Answers]:
        """Teacher logits (A, C), float32, of the rows of `table`.

        Args:
            table: rows of the student's tokens.
            signals: the teacher's row for each of them, in the same order.
            answers: of `table`.
            order: for each of the student's classes its number in the signals.
        Returns: the logits and the answers they belong to: those of `answers` that the teacher
            predicted.
        """

    def decisions(self, from_teacher: TeacherOutput) -> np.ndarray:
        """What the teacher decides, in the form of `Answers.labels`: hard pseudo-labels.

        Here the likeliest class of each answer.
        """
        return from_teacher.logits.argmax(1).astype(np.int64)

    @abstractmethod
    def signal_table(self, table: pa.Table, logits: np.ndarray, answers: Answers) -> pa.Table:
        """What a teacher says of the rows of a tokens table, under `signals_contract`.

        Args:
            logits: float32, (A, C), in the order of `answers`.
        """

    def thresholds(self, table: pa.Table, logits: np.ndarray, answers: Answers) -> dict[str, Any]:
        """What decides beside the largest logit, tuned on labelled rows, if `has_thresholds`.

        Kept as thresholds.json beside the model, so that evaluation and service decide alike.
        """
        del table, logits, answers
        return {}

    @abstractmethod
    def soft_labels(self, signals: pa.Table, *, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
        """What a teacher said of each row, whoever asks: `signal_table` read back.

        Returns: logits, float32, (A, C), row after row; and the answers of each row, int64, (N,).
            Of a question's context: the slot "no answer", then its units.
        """

    @abstractmethod
    def restated(self, ids: pa.Array, logits: np.ndarray, counts: np.ndarray) -> pa.Table:
        """`soft_labels` put back under `signals_contract`: one row an id."""

    @abstractmethod
    def score(
        self, table: pa.Table, logits: np.ndarray, answers: Answers, *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Validation figures of logits (A, C) for labelled rows: `metrics`, and `loss` in nats."""
