"""One of C classes: a text's topic, intent or sentiment.

Confidences are softmax probabilities. The linear floors learn from the rows the student learned
from, once with the teacher's pseudo-labels and once with gold labels. C is the number of classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.evaluation import TEACHER
from tasks.comparison.material import Material, Reader, is_any
from tasks.comparison.problem import Sections, Settings
from tasks.comparison.sections.diagnosis import diagnose_classes
from tasks.comparison.sections.domains import domain_groups
from tasks.comparison.timing.formats import encoder_answerers
from tasks.comparison.timing.inference import Answerer, answer_all
from tasks.metrics.baselines.classes import linear_probabilities, majority_class
from tasks.metrics.calibration import top_probabilities
from tasks.metrics.class_answers import (
    MEASURES,
    calibrate,
    class_answers,
    class_table,
    frequent_confusions,
)
from tasks.metrics.latency import Text
from tasks.metrics.statistics import Measure
from tasks.metrics.systems import Answers
from tasks.problems import PROBLEMS, load_model
from tasks.runtime.machine.device import has_cuda
from tasks.training.engine.loop import place
from tasks.training.fitting.inference import predict_rows

pc: Any = pyarrow.compute

_NO_GOLD_FLOOR = "No linear floor on gold labels: switched off, or too few rows carry a label."


@dataclass(frozen=True)
class TextClassification:
    """See `tasks.comparison.problem.ComparedProblem`."""

    material: Material
    settings: Settings
    name: ClassVar[str] = "text_classification"

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Accuracy first; calibration too."""
        return MEASURES

    def has_tests(self) -> bool:
        """Whether a test row of the students has a class."""
        rows = self.material.rows("student", ["test"])
        return is_any(pc.greater_equal(rows["label"], 0))

    def answer_teacher(self) -> Answers:
        """The teacher on the source-language test rows."""
        tests = self.material.test_rows("teacher")
        return self._from_logits(tests, [self.material.teacher_logits(tests["example_id"])])

    def answer_teacher_on_target(self) -> Answers | None:
        """The teacher on the target-language test rows, if it reads them."""
        rows = self.material.target_rows_of_teacher(self.material.test_rows("student"))
        if rows is None:
            return None
        rows = rows.filter(pa.array(rows["label"].to_numpy() >= 0))
        if not len(rows):
            return None
        return self._from_logits(rows, [self.material.teacher_logits(rows["example_id"])])

    def answer_models(self, models: Sequence[Path]) -> Answers:
        """Students on the target-language test rows, one a seed."""
        tests = self.material.test_rows("student")
        return self._from_logits(tests, [self.student_logits(model, tests) for model in models])

    def answer_floors(self) -> Iterator[tuple[str, Answers]]:
        """`linear_pseudo_label`, `linear_gold` (where rows carry two classes), `majority`."""
        tests, rows, pseudo_labels = self.learned()
        if self.settings.linear:
            yield from self._linear_floors(tests, rows, pseudo_labels)
        # Its honest probability is how often that class occurs in what the student learned from.
        chosen = majority_class(pseudo_labels)
        share = float((pseudo_labels == chosen).mean())
        decided = (np.full(len(tests), chosen), np.full(len(tests), share))
        yield "majority", self._answers(tests, [decided])

    def answer_int8(self, answer: Answerer, *, batch_size: int, num_threads: int) -> Answers:
        """The int8 form from text, through the tokenizer that ships."""
        del num_threads
        tests = self.material.test_rows("student")
        logits = answer_all(answer, self.timed_texts("student"), batch_size=batch_size)
        return self._from_logits(tests, [logits])

    def timed_texts(self, reader: Reader) -> list[Text]:
        """The labelled test texts of a reader."""
        ids = self.material.test_rows(reader)["example_id"]
        return self.texts(reader, ["test"], ids)

    def answerers(self, *, num_threads: int) -> dict[str, Answerer]:
        """Teacher, safetensors and int8 student."""
        return encoder_answerers(self.material, load_model, num_threads=num_threads)

    def sections(self, answers: Mapping[str, Answers]) -> Sections:
        """Class table, confusions, calibration, agreement, domains."""
        student, names = answers["student"], self.material.label_names
        bins = self.settings.num_calibration_bins
        return Sections(
            classes=class_table(student, names, system="student, seed 0"),
            confusions=frequent_confusions(student, names),
            calibration={
                name: calibrate(answers[name], num_bins=bins) for name in (TEACHER, "student")
            },
            diagnostics=diagnose_classes(
                self.material,
                self.student_logits,
                train_on=self.settings.train_on,
                seed=self.settings.seed,
            ),
            groups=domain_groups(self.material, answers, self.measures),
            notes=(_NO_GOLD_FLOOR,)
            if "supervised" in answers and "linear_gold" not in answers
            else (),
        )

    def predictions(self, answers: Answers, seed_index: int) -> tuple[str, pa.Table]:
        """Names of classes and confidences; see predictions.odcs.yaml."""
        return "predictions", class_predictions(answers, seed_index, self.material.label_names)

    def texts(self, reader: Reader, roles: Sequence[str], ids: pa.ChunkedArray) -> list[Text]:
        """What a reader is given of each row."""
        return [*self.material.texts(reader, roles, ids)]

    def student_logits(self, model: Path, rows: pa.Table) -> np.ndarray:
        """Logits (rows, C) of the student saved in the folder `model`, fp32."""
        facts = self.material.token_facts("student")
        network = load_model(model)
        if has_cuda():  # on a CPU, `place` would set the number of threads that timing relies on
            network = network.to(place())
        logits, _ = predict_rows(
            network,
            PROBLEMS[self.name],
            rows,
            num_labels=len(self.material.label_names),
            pad_token_id=facts["pad_token_id"],
        )
        return logits

    def learned(self) -> tuple[pa.Table, pa.Table, np.ndarray]:
        """Test rows, the rows the student learned from, and the teacher's classes of these."""
        rows = self.material.rows("student", self.settings.train_on)
        pseudo_labels = self.material.teacher_logits(rows["example_id"]).argmax(axis=1)
        return self.material.test_rows("student"), rows, pseudo_labels

    def floor_texts(self, roles: Sequence[str], ids: pa.ChunkedArray) -> list[str]:
        """What the linear floors read of each row."""
        return self.material.texts("student", roles, ids)

    def _linear_floors(
        self, tests: pa.Table, rows: pa.Table, pseudo_labels: np.ndarray
    ) -> Iterator[tuple[str, Answers]]:
        drawn = self.settings.floor_rows(len(rows), "linear floor")
        ids = rows["example_id"].take(pa.array(drawn))
        texts = np.array(self.floor_texts(self.settings.train_on, ids), dtype=object)
        test_texts = self.floor_texts(["test"], tests["example_id"])
        gold = rows["label"].to_numpy()
        for name, labels in (("linear_pseudo_label", pseudo_labels), ("linear_gold", gold)):
            known = labels[drawn] >= 0
            if np.unique(labels[drawn][known]).size >= 2:
                probabilities, _ = linear_probabilities(
                    texts[known].tolist(),
                    labels[drawn][known],
                    test_texts,
                    num_classes=len(self.material.label_names),
                )
                yield name, self.from_probabilities(tests, probabilities)

    def from_probabilities(self, tests: pa.Table, probabilities: np.ndarray) -> Answers:
        """Answers of one run from class probabilities (N, C)."""
        return self._answers(tests, [(probabilities.argmax(axis=1), probabilities.max(axis=1))])

    def _from_logits(self, tests: pa.Table, logits: Sequence[np.ndarray]) -> Answers:
        return self._answers(tests, [top_probabilities(found) for found in logits])

    def _answers(self, tests: pa.Table, runs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Answers:
        return class_answers(
            tests["example_id"].to_pylist(),
            tests["label"].to_numpy().astype(np.int64),
            np.stack([decided for decided, _ in runs]),
            np.stack([sure for _, sure in runs]),
            num_classes=len(self.material.label_names),
            num_bins=self.settings.num_calibration_bins,
        )


def class_predictions(answers: Answers, seed_index: int, label_names: Sequence[str]) -> pa.Table:
    """example_id, label and prediction (names), confidence of one seed."""
    assert answers.confidences is not None
    names = np.array(label_names, dtype=object)
    return pa.table(
        {
            "example_id": pa.array(answers.example_ids, pa.string()),
            "label": pa.array(names[answers.labels], pa.string()),
            "prediction": pa.array(names[answers.predictions[seed_index]], pa.string()),
            # Rounding may lift a sum of probabilities above one by an ulp.
            "confidence": pa.array(np.minimum(answers.confidences[seed_index], 1.0), pa.float32()),
        }
    )
