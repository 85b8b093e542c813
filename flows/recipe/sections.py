"""Sections of an encoder's recipe: fields of the stages' own configurations, once each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen
from flows.recipe.base import Reading, section
from tasks import adaptation, distillation, teacher, teacher_signals
from tasks.corpus.tokenizers.config import Tokenizer
from tasks.modeling.config import Architecture
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.matching_config import AnyMatchingTerm
from tasks.training.mutual.config import MutualTerm
from tasks.training.optimization.config import TrainingConfig


class TeacherSignals(section(teacher_signals.Config, without=())):
    """What the fine-tuned teacher is asked to read, once for all students."""


class Teacher(Reading, section(teacher.Config, without=("problem", "seed"))):
    """The large model of the source language, how it reads, and how it is fine-tuned."""

    languages: tuple[str, ...] = Field(
        (),
        description="languages the teacher can read, the preferred one first; empty: the source "
        "language alone. Name the target language too for a multilingual teacher",
    )
    signals: TeacherSignals = Field(
        default=TeacherSignals(), description="what the teacher is asked to read"
    )


class Student(Reading):
    """The small model of the target language, its vocabulary and its training."""

    languages: tuple[str, ...] = Field(
        (),
        description="languages the student reads, the preferred one first; empty: the target "
        "language alone. Name the source language too to train it on source-language rows",
    )
    validate_on: Literal["target", "all"] = Field(
        "target",
        description="whose validation rows choose the step, of the baselines too (with "
        "`training.selection: last` they are scored alone): the target language's, or those of all "
        "languages that the student reads",
    )
    tokenizer: Tokenizer = Field(description="the student's own vocabulary")
    architecture: Architecture = Field(
        description="the student's encoder: a shape, or layers of a pretrained model"
    )
    training: TrainingConfig = Field(description="optimisation of the student and its baselines")
    adversary: AdversaryConfig | None = Field(
        None,
        description="a classifier of languages or roles that the student's encoder learns to "
        "mislead, beside matching and ema or without them; its baselines do without",
    )
    ema: EMAConfig | None = Field(
        None,
        description="self-distillation: the student learns from the running average of its own "
        "weights too, beside matching and an adversary or without them (its baselines do not); "
        "none: it does not",
    )
    matching: tuple[AnyMatchingTerm, ...] = Field(
        (),
        description="layers of the teacher that the student's are compared with, beside the "
        "distillation loss: text vectors, or token by token where both read the same tokens; its "
        "baselines do without",
    )


class Distillation(distillation.ObjectiveConfig):
    """What the student is trained to match, and on which rows."""

    train_on: tuple[Literal["transfer", "train"], ...] = Field(
        ("transfer",), min_length=1, description="roles of the rows the student is trained on"
    )

    @property
    def objective(self) -> distillation.ObjectiveConfig:
        """The loss alone, in the form it is written."""
        return distillation.ObjectiveConfig.model_validate(self.model_dump(exclude={"train_on"}))


class Adaptation(
    section(adaptation.Config, without=("model", "architecture", "languages", "seed"))
):
    """Which encoders read on in unlabelled text before they are trained, and how."""

    models: tuple[Literal["teacher", "student"], ...] = Field(
        ("teacher",),
        min_length=1,
        description="encoders that read on: the (first) teacher's before it is fine-tuned, the "
        "student's (and its baselines') before it is distilled; no co-teacher's, no peer's",
    )
    languages: tuple[str, ...] = Field(
        (),
        description="languages of the text that is read, the preferred one first; empty: the "
        "target language",
    )


class Peer(Reading):
    """A further student that learns beside the delivered one, and teaches it."""

    languages: tuple[str, ...] = Field(
        (), description="languages it reads, the preferred one first; empty: the student's"
    )
    tokenizer: Tokenizer = Field(description="its own vocabulary")
    architecture: Architecture = Field(description="its encoder")


class Mutual(MutualTerm):
    """Networks that teach one another; the student is the first, and keeps its companions."""

    peers: tuple[Peer, ...] = Field((), max_length=7, description="further students")
    teacher: bool = Field(
        False,
        description="whether the fine-tuned teacher learns from the students too; how far it "
        "drifts is told in the student's training.json",
    )

    @model_validator(mode="after")
    def _not_alone(self) -> Mutual:
        if not self.peers and not self.teacher:
            raise ValueError("mutual has neither peers nor the teacher: nobody to learn from")
        return self


class Baselines(Frozen):
    """Systems the student is compared with; each trained one costs as much as a student a seed."""

    pseudo_labels: bool = Field(
        True, description="the same student on the teacher's decisions alone: no distillation"
    )
    supervised: bool = Field(
        True,
        description="the same student on gold labels of the target language: an upper bound; needs "
        "labels on rows in that language that the student is trained on",
    )
    supervised_epochs: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="passes of the supervised student over the labelled rows, of which there may "
        "be far fewer than its rival has rows; none: as many passes as the student",
    )
    zero_shot: bool = Field(
        False,
        description="the same student on gold labels of the source language alone; needs the "
        "source language in student.languages",
    )
    zero_shot_epochs: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="passes of the zero-shot student over the source rows, of which there may be "
        "far fewer than its rival has rows; none: as many passes as the student",
    )
    linear: bool = Field(True, description="linear TF-IDF classifiers, as a floor")

    @model_validator(mode="after")
    def _epochs_of_somebody(self) -> Baselines:
        for name in ("supervised", "zero_shot"):
            if dict(self)[f"{name}_epochs"] is not None and not dict(self)[name]:
                raise ValueError(f"{name}_epochs is given, but {name} is off: nobody would train")
        return self
