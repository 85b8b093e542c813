"""Any number of C classes: decided class by class, at the thresholds each model was tuned to.

Thresholds are read from the `thresholds.json` of a model's folder (the teacher's: of its signals),
where training left them after tuning on validation rows; 0.5 without it. Nothing here looks for a
better one on test rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.artifacts import THRESHOLDS_FILE
from data_contracts.evaluation import Diagnostics
from tasks.comparison.material import Material, Reader, is_any, labelled
from tasks.comparison.problem import Sections, Settings
from tasks.comparison.sections.diagnosis import diagnosed_rows
from tasks.comparison.sections.domains import domain_groups
from tasks.comparison.sections.structured import structured_predictions
from tasks.comparison.timing.formats import encoder_answerers
from tasks.comparison.timing.inference import Answerer, answer_all
from tasks.metrics.baselines.classes import linear_probabilities_by_class
from tasks.metrics.diagnostics import diagnose_sets
from tasks.metrics.latency import Text
from tasks.metrics.scores.multilabel import (
    DEFAULT_THRESHOLD,
    MEASURES,
    decided_classes,
    multilabel_answers,
    multilabel_table,
)
from tasks.metrics.statistics import Measure
from tasks.metrics.systems import Answers
from tasks.problems import PROBLEMS, load_model
from tasks.runtime.machine.device import has_cuda
from tasks.training.engine.loop import place
from tasks.training.fitting.inference import predict_rows

pc: Any = pyarrow.compute


@dataclass(frozen=True)
class MultilabelClassification:
    """See `tasks.comparison.problem.ComparedProblem`."""

    material: Material
    settings: Settings
    name: ClassVar[str] = "multilabel_classification"

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Micro-F1 first."""
        return MEASURES

    def tests(self, reader: Reader) -> pa.Table:
        """The reader's test rows whose classes are known."""
        rows = self.material.rows(reader, ["test"])
        return labelled(rows, pc.is_valid(rows["labels"]), reader)

    def has_tests(self) -> bool:
        """Whether a test row of the students has known classes."""
        return is_any(pc.is_valid(self.material.rows("student", ["test"])["labels"]))

    def answer_teacher(self) -> Answers:
        """The teacher on the source-language test rows."""
        return self._of_teacher(self.tests("teacher"))

    def answer_teacher_on_target(self) -> Answers | None:
        """The teacher on the target-language test rows, if it reads them."""
        rows = self.material.target_rows_of_teacher(self.tests("student"))
        rows = rows if rows is None else rows.filter(pc.is_valid(rows["labels"]))
        return self._of_teacher(rows) if rows is not None and len(rows) else None

    def answer_models(self, models: Sequence[Path]) -> Answers:
        """Students on the target-language test rows, one a seed."""
        tests = self.tests("student")
        return self._answers(
            tests, [(self._logits(model, tests), self._thresholds(model)) for model in models]
        )

    def answer_int8(self, answer: Answerer, *, batch_size: int, num_threads: int) -> Answers:
        """The int8 form from text, through the tokenizer that ships."""
        del num_threads
        logits = answer_all(answer, self.timed_texts("student"), batch_size=batch_size)
        thresholds = self._thresholds(self.material.path("export") / "model")
        return self._answers(self.tests("student"), [(logits, thresholds)])

    def answer_floors(self) -> Iterator[tuple[str, Answers]]:
        """`linear_pseudo_label`, `linear_gold` (a classifier a class), `majority` (a set)."""
        tests, material = self.tests("student"), self.material
        roles = self.settings.train_on
        rows = material.rows("student", roles)
        rows = rows.take(pa.array(self.settings.floor_rows(len(rows), "linear floor")))
        thresholds = self._thresholds(material.path("teacher_signals"), of_teacher=True)
        from_teacher = decided_classes(material.teacher_logits(rows["example_id"]), thresholds)
        known = np.asarray(rows["labels"].is_valid())
        texts = np.array(material.texts("student", roles, rows["example_id"]), dtype=object)
        if self.settings.linear:
            everything = np.ones(len(rows), dtype=bool)
            for name, labels, kept in (
                ("linear_pseudo_label", from_teacher, everything),
                ("linear_gold", self._labels(rows), known),
            ):
                if kept.any():
                    yield name, self._linear(tests, texts[kept].tolist(), labels[kept])
        sets, counts = np.unique(from_teacher, axis=0, return_counts=True)
        chosen = np.repeat(sets[[counts.argmax()]], len(tests), axis=0)
        ids = tests["example_id"].to_pylist()
        yield "majority", multilabel_answers(ids, self._labels(tests), [chosen])

    def timed_texts(self, reader: Reader) -> list[Text]:
        """The labelled test texts of a reader."""
        return [*self.material.texts(reader, ["test"], self.tests(reader)["example_id"])]

    def answerers(self, *, num_threads: int) -> dict[str, Answerer]:
        """Teacher, safetensors and int8 student."""
        return encoder_answerers(self.material, load_model, num_threads=num_threads)

    def sections(self, answers: Mapping[str, Answers]) -> Sections:
        """Class table, agreement, domains."""
        names = self.material.label_names
        return Sections(
            diagnostics=self._diagnose(),
            classes=multilabel_table(answers["student"], names, system="student, seed 0"),
            groups=domain_groups(self.material, answers, self.measures),
        )

    def predictions(self, answers: Answers, seed_index: int) -> tuple[str, pa.Table]:
        """Names of classes."""
        return structured_predictions(answers, seed_index, names=self.material.label_names)

    def _diagnose(self) -> Diagnostics:
        """Agreement of teacher and student (seed 0), each at its own thresholds."""
        material, roles = self.material, self.settings.train_on
        thresholds = self._thresholds(material.path("teacher_signals"), of_teacher=True)
        learned = material.rows("student", roles)
        rows, described = diagnosed_rows(material, learned, train_on=roles, seed=self.settings.seed)
        known = learned.filter(pc.is_valid(learned["labels"]))
        right = None
        if len(known):
            pseudo_labels = decided_classes(
                material.teacher_logits(known["example_id"]), thresholds
            )
            right = float((pseudo_labels == self._labels(known)).all(axis=1).mean())
        logits = material.teacher_logits(rows["example_id"])
        model = material.seeds("student")[0].path / "model"
        return diagnose_sets(
            logits,
            decided_classes(logits, thresholds),
            decided_classes(self._logits(model, rows), self._thresholds(model)),
            material.label_names,
            rows=described,
            pseudo_label_accuracy=right,
        )

    def _of_teacher(self, rows: pa.Table) -> Answers:
        thresholds = self._thresholds(self.material.path("teacher_signals"), of_teacher=True)
        return self._answers(rows, [(self.material.teacher_logits(rows["example_id"]), thresholds)])

    def _answers(self, rows: pa.Table, runs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Answers:
        return multilabel_answers(
            rows["example_id"].to_pylist(),
            self._labels(rows),
            [decided_classes(logits, thresholds) for logits, thresholds in runs],
        )

    def _labels(self, rows: pa.Table) -> np.ndarray:
        """0 and 1, (N, C); all 0 where nothing is known."""
        found = np.zeros((len(rows), len(self.material.label_names)), dtype=np.int64)
        for row, classes in enumerate(rows["labels"].to_pylist()):
            found[row, classes or []] = 1
        return found

    def _thresholds(self, folder: Path, *, of_teacher: bool = False) -> np.ndarray:
        """(C,), of the model or the signals in `folder`, classes as in `label_names`."""
        path = folder / THRESHOLDS_FILE
        if not path.is_file():
            return np.full(len(self.material.label_names), DEFAULT_THRESHOLD)
        found = np.array(json.loads(path.read_text(encoding="utf-8"))["thresholds"], np.float64)
        return found[self.material.class_order] if of_teacher else found

    def _logits(self, model: Path, rows: pa.Table) -> np.ndarray:
        network = load_model(model)
        if has_cuda():  # on a CPU, `place` would set the number of threads that timing relies on
            network = network.to(place())
        logits, _ = predict_rows(
            network,
            PROBLEMS[self.name],
            rows,
            num_labels=len(self.material.label_names),
            pad_token_id=self.material.token_facts("student")["pad_token_id"],
        )
        return logits

    def _linear(self, tests: pa.Table, texts: list[str], labels: np.ndarray) -> Answers:
        test_texts = self.material.texts("student", ["test"], tests["example_id"])
        probabilities = linear_probabilities_by_class(texts, labels, test_texts)
        decided = (probabilities >= DEFAULT_THRESHOLD).astype(np.int64)
        ids = tests["example_id"].to_pylist()
        return multilabel_answers(ids, self._labels(tests), [decided])
