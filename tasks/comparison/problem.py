"""What a problem type must offer to be compared: its metrics, its answers, its sections.

one file a problem in tasks/comparison/problems/ ─► ComparedProblem
answers.py, timing.py, tasks/evaluation.py            ask it, and know no problem by name
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa

from data_contracts.evaluation import (
    Calibration,
    ClassTable,
    Confusion,
    Curve,
    Diagnostics,
    Group,
)
from tasks.comparison.material import Material, Reader
from tasks.metrics.latency import Text, Timed
from tasks.metrics.statistics import Measure
from tasks.metrics.systems import Answers
from tasks.runtime.seeding import generator


@dataclass(frozen=True)
class Settings:
    """What the recipe's evaluation decides about answers; as in `tasks.evaluation.Config`."""

    train_on: tuple[str, ...] = ("transfer",)
    linear: bool = True
    linear_max_texts: int = 50_000
    num_calibration_bins: int = 15
    seed: int = 0

    def floor_rows(self, num_rows: int, use: str) -> np.ndarray:
        """Numbers of the rows that a floor learns from, int64, ascending: all, or drawn.

        Drawn over all of them: rows are in the order of their sources, languages and domains.

        Args:
            use: names the floor, whose draw is its own.
        """
        if num_rows <= self.linear_max_texts:
            return np.arange(num_rows)
        drawn = generator(self.seed, use).choice(num_rows, self.linear_max_texts, replace=False)
        return np.sort(drawn)


@dataclass(frozen=True)
class Sections:
    """The parts of the report that only some problems have."""

    classes: ClassTable | None = None
    confusions: tuple[Confusion, ...] = ()
    calibration: dict[str, Calibration] = field(default_factory=dict)
    diagnostics: Diagnostics | None = None
    groups: tuple[Group, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()


class ComparedProblem(Protocol):
    """One problem type on the artifacts of one evaluation."""

    name: ClassVar[str]
    """Its key among the problem types."""

    @property
    def material(self) -> Material:
        """The artifacts, joined."""
        ...

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Its metrics, the primary one first."""
        ...

    def has_tests(self) -> bool:
        """Whether a test row that students read in the target language has a right answer."""
        ...

    def answer_teacher(self) -> Answers:
        """The teacher on source-language test rows, from its signals."""
        ...

    def answer_teacher_on_target(self) -> Answers | None:
        """The teacher on target-language test rows, from its signals; None if it reads none."""
        ...

    def answer_models(self, models: Sequence[Path]) -> Answers:
        """The students in these folders, one a seed, on the target-language test rows."""
        ...

    def answer_floors(self) -> Iterator[tuple[str, Answers]]:
        """What methods without a trained network answer to the target-language test rows."""
        ...

    def answer_int8(self, answer: Any, *, batch_size: int, num_threads: int) -> Answers:
        """The int8 form on the target-language test rows.

        Args:
            answer: calls it as its users do, from text.
            num_threads: of onnxruntime, where it is called in another way.
        """
        ...

    def timed_texts(self, reader: Reader) -> list[Text]:
        """The test texts of a reader, as an answerer takes them."""
        ...

    def answerers(self, *, num_threads: int) -> Mapping[str, Timed]:
        """What is timed, by form: `teacher`, `safetensors` and, where it exists, `onnx_int8`."""
        ...

    def sections(self, answers: Mapping[str, Answers]) -> Sections:
        """The parts of the report about this problem."""
        ...

    def predictions(self, answers: Answers, seed_index: int) -> tuple[str, pa.Table]:
        """Contract and table of one seed's answers, as they are written to files."""
        ...
