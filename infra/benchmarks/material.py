"""What is trained on: Decant's own artifacts up to the teacher, for the quickstart and for sib200.

Every competitor gets the same rows, token ids, teacher and initial student. The artifacts are built
once into the work folder (three minutes for the quickstart on two cores) and found again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from data_contracts.artifacts import Artifact
from flows.pipeline import run_steps
from flows.recipe.loading.files import SHIPPED
from flows.recipe.recipe import Recipe
from infra.benchmarks.settings import Settings, needs_sib200, say
from infra.benchmarks.validation_clock import ValidationClock
from tasks import distillation
from tasks.corpus.tables import read_table
from tasks.corpus.tokenizers.config import PretrainedTokenizer, TrimmedTokenizer
from tasks.corpus.tokens.facts import TokenFacts, read_token_facts
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.problems import PROBLEMS, load_model
from tasks.problems.text_classification import class_scores
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.machine.device import cpu_count
from tasks.runtime.stages import run_stage
from tasks.training.batching.examples import Examples, examples_of, read_labels, read_rows
from tasks.training.batching.ragged import RaggedIds

_TEACHER_SIGNALS, _STUDENT = "teacher-signals", "student-seed-0"
_STUDENT_TOKENS, _WHOLE_TOKENS = "student-tokens", "student-tokens, whole vocabulary"


@dataclass(frozen=True)
class Material:
    """One distillation: artifacts, and what competitors read out of them.

    Args:
        recipe: what defines it.
        artifacts: by step name: corpus, student-tokens, signal-tokens, teacher.
        number: which of the recipe's students, from 0; each begins with other weights.
    """

    recipe: Recipe
    artifacts: dict[str, Artifact]
    number: int = 0

    @property
    def config(self) -> distillation.Config:
        """Of the student: rows, objective, optimisation, seed."""
        return self.recipe.student_config(self.number)

    @property
    def student_tokens(self) -> Path:
        """Folder of the student's token ids."""
        return self.artifacts["student-tokens"].path

    @property
    def teacher_tokens(self) -> Path:
        """Folder of the teacher's token ids of the same rows."""
        return self.artifacts["signal-tokens"].path

    @cached_property
    def student_facts(self) -> TokenFacts:
        """Padding id and length limit of the student."""
        return read_token_facts(self.student_tokens)

    @cached_property
    def teacher_facts(self) -> TokenFacts:
        """Padding id and length limit of the teacher."""
        return read_token_facts(self.teacher_tokens)

    @cached_property
    def examples(self) -> Examples:
        """The student's rows to train on."""
        return self._examples(self.config.train_on)

    @cached_property
    def validation(self) -> Examples:
        """The student's labelled validation rows."""
        return self._examples(["validation"])

    def _examples(self, roles: Sequence[str]) -> Examples:
        rows = read_rows(self.student_tokens, roles)
        return examples_of(PROBLEMS[self.config.problem], rows, read_labels(self.student_tokens))

    @cached_property
    def teacher_ids(self) -> RaggedIds:
        """The teacher's token ids of `examples`, in their order."""
        parts = [
            read_table(path, ["example_id", "input_ids"])
            for role in self.config.train_on
            for path in sorted((self.teacher_tokens / role).glob("*.parquet"))
        ]
        table = pa.concat_tables(parts)
        place = {name: row for row, name in enumerate(table["example_id"].to_pylist())}
        rows = [place[name] for name in self.examples.example_ids.to_pylist()]
        return RaggedIds.from_arrow(table["input_ids"].take(pa.array(rows)))

    def teacher(self) -> EncoderClassifier:
        """The fine-tuned teacher in evaluation mode, fp32."""
        return load_model(self.artifacts["teacher"].path / "model")

    def student(self) -> EncoderClassifier:
        """The student as the stage `distillation` begins with it: equal weights every time."""
        return distillation.untrained_student(
            self.config,
            self.student_tokens,
            self.artifacts,
            num_labels=len(self.examples.label_names),
        )

    def plain_student(self) -> EncoderClassifier:
        """`student` with transformers' own attention: as a user of another tool would have it."""
        student = self.student()
        student.backbone.set_attn_implementation("sdpa")
        return student

    def with_whole_vocabulary(self) -> Material | None:
        """The same rows for a student with all tokens of the model it is cut from, if it was cut to
        those it reads; else None."""
        if _WHOLE_TOKENS not in self.artifacts:
            return None
        whole = self.artifacts[_WHOLE_TOKENS]
        return replace(self, artifacts={**self.artifacts, _STUDENT_TOKENS: whole})

    def texts(self, role: str = "transfer") -> list[str]:
        """Raw texts of a role in the student's language, in file order."""
        folder = self.artifacts["corpus"].path / "rows" / role
        parts = [read_table(path, ["text"]) for path in sorted(folder.glob("*.parquet"))]
        return pa.concat_tables(parts)["text"].to_pylist()

    def score(self, logits: np.ndarray) -> float:
        """Validation accuracy of logits of `validation`."""
        return class_scores(logits, self.validation.labels)["accuracy"]

    def record(self) -> dict:
        """What was trained on, as JSON values."""
        student, teacher = self.examples.input_ids.lengths, self.teacher_ids.lengths
        shape = self.student().backbone.config
        return {
            "rows": len(self.examples),
            "student_tokens_mean": round(float(student.mean()), 1),
            "student_tokens_max": int(student.max()),
            "teacher_tokens_mean": round(float(teacher.mean()), 1),
            "max_length_tokens": self.student_facts["max_length_tokens"],
            "student": f"{shape.num_hidden_layers} x {shape.hidden_size}",
            "student_parameters": sum(p.numel() for p in self.student().parameters()),
            "teacher_parameters": sum(p.numel() for p in self.teacher().parameters()),
            "batch_size": self.config.training.batch_size,
            "epochs": self.config.training.num_epochs,
            "learning_rate": self.config.training.learning_rate,
            "alpha": self.config.objective.alpha,
            "temperature": self.config.objective.temperature,
        }

    def student_of(self, number: int) -> Material:
        """The same rows for another of the recipe's students."""
        return replace(self, number=number)

    def with_training(self, **changes: Any) -> Material:
        """The same rows, teacher and first weights, and other fields of the student's training."""
        student = self.recipe.student
        training = student.training.model_copy(update=changes)
        student = student.model_copy(update={"training": training})
        return replace(self, recipe=self.recipe.model_copy(update={"student": student}))


class _EnoughError(Exception):
    """Everything that was asked for is there."""


def prepare(settings: Settings, section: str) -> Material:
    """Build, or find, the artifacts behind a training section."""
    recipe = _sib200(settings) if needs_sib200(section) else quickstart(settings)
    store = ArtifactStore(settings.work / "home")
    artifacts: dict[str, Artifact] = {}

    def step(name, stage, config, /, **inputs):
        if name == _TEACHER_SIGNALS:  # and what follows: timed by the benchmark itself
            raise _EnoughError
        outcome = run_stage(stage, config, inputs, store=store, workers=cpu_count())
        say(f"  {name}: {'found' if outcome.cached else 'built'}")
        artifacts[name] = outcome.artifact
        tokenizer = getattr(config, "tokenizer", None)
        if name == _STUDENT_TOKENS and isinstance(tokenizer, TrimmedTokenizer):
            whole = config.model_copy(update={"tokenizer": PretrainedTokenizer(uri=tokenizer.uri)})
            step(_WHOLE_TOKENS, stage, whole, **inputs)
        return outcome.artifact

    with contextlib.suppress(_EnoughError):
        run_steps(recipe, step)
    return Material(recipe, artifacts)


def distill_again(
    material: Material, store: ArtifactStore, *, validations_per_epoch: int, precision: str
) -> tuple[float, float, ValidationClock, Path]:
    """Teacher signals and student into an empty store, wired as the pipeline wires them.

    Returns: seconds of the teacher signals and of the student, the clock of the student's
    validations, started when its step began, and its folder. The teacher reads the rows to train on
    alone, and training goes on to its last epoch.
    """
    training = material.config.training.model_copy(
        update={
            "validations_per_epoch": validations_per_epoch,
            "patience": 10_000,
            "precision": precision,
        }
    )
    changes = {
        _TEACHER_SIGNALS: {"roles": material.config.train_on},
        _STUDENT: {"training": training},
    }
    seconds: dict[str, float] = {}
    clocks: dict[str, ValidationClock] = {}
    built: dict[str, Artifact] = {}

    def step(name, stage, config, /, **inputs):
        if name in material.artifacts:
            return material.artifacts[name]
        if name in changes:
            config = config.model_copy(update=changes[name])
        clock = clocks[name] = ValidationClock()
        built[name] = run_stage(
            stage, config, inputs, store=store, progress=clock, workers=cpu_count()
        ).artifact
        seconds[name] = clock.seconds()
        if name == _STUDENT:
            raise _EnoughError
        return built[name]

    with contextlib.suppress(_EnoughError):
        run_steps(material.recipe, step)
    taken = seconds.pop(_STUDENT)
    return sum(seconds.values()), taken, clocks[_STUDENT], built[_STUDENT].path


def quickstart(settings: Settings) -> Recipe:
    """The shipped quickstart, or a small cut of it."""
    values = yaml.safe_load((SHIPPED / "quickstart.yaml").read_text(encoding="utf-8"))
    if settings.tiny:
        for source in values["data"]["sources"]:
            source["rows_per_intent"] = 4
        values["teacher"]["training"].update(num_epochs=1)
        values["student"]["tokenizer"].update(min_frequency=2)
        values["student"]["training"].update(num_epochs=1)
    return Recipe.model_validate(values)


def _sib200(settings: Settings) -> Recipe:
    """Topics of sentences: a multilingual teacher reads English, the student Chinese."""
    assert settings.sib200 is not None
    assert settings.multilingual_model is not None
    folder = settings.work / ("sib200-tiny" if settings.tiny else "sib200")
    _write_pairs(settings.sib200, folder, num_rows=settings.pick(10_000, 64))
    values = yaml.safe_load((SHIPPED / "sib200.yaml").read_text(encoding="utf-8"))
    names = {"train": "train", "validation": "dev", "test": "test"}
    for source in values["data"]["sources"]:
        pairs = source["role"] == "transfer"
        stem = "pairs" if pairs else names[source["role"]]
        columns = {"label": "label", "text": "text"}
        if pairs:
            columns["parallel_text"] = "parallel_text"
            del source["parallel"]  # joined here already
        uri = str(folder / f"{stem}.{source['language']}.parquet")
        source.update(format="parquet", uri=uri, columns=columns)
    values["teacher"]["model"] = str(settings.multilingual_model)
    values["student"]["tokenizer"]["uri"] = str(settings.multilingual_model)
    if settings.tiny:
        values["data"]["max_quarantine_rate"] = 0.5
        values["teacher"]["training"]["num_epochs"] = 1
        values["student"]["training"]["num_epochs"] = 1
    return Recipe.model_validate(values)


def _write_pairs(source: Path, folder: Path, *, num_rows: int) -> None:
    """The splits as they are, and the Chinese train rows joined to their English by index_id."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        name: pq.read_table(source / f"{name}.parquet").replace_schema_metadata(None)
        for name in ("train.en", "train.zh", "dev.en", "dev.zh", "test.en", "test.zh")
    }
    english = (
        tables["train.en"]
        .select(["index_id", "text"])
        .rename_columns(["index_id", "parallel_text"])
    )
    tables["pairs.zh"] = tables.pop("train.zh").join(english, "index_id").sort_by("index_id")
    for name, table in tables.items():
        pq.write_table(table.slice(0, num_rows), folder / f"{name}.parquet")
