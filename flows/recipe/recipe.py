"""Recipe of an encoder: everything that defines a run, in one frozen model.

It is the YAML file, the target of `--set`, the form of a Prefect deployment, and what enters the
keys. What it has in common with recipes of encoder-decoders (`seq2seq_recipe`) is in `recipe_base`.

    Recipe ──► corpus_config()  teacher_tokens_config()  student_tokens_config()  teacher_config()
               signal_tokens_config()  teacher_signals_config()  student_config(i)
               pseudo_label_config(i)  supervised_config(i)  zero_shot_config(i)  export_config()
               evaluation_config()  registration_config()  adaptation_config(model)
               combined_signals_config()

Those about a teacher take the name of one of several (`teachers`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from flows.recipe.base import (
    Reading,
    RecipeBase,
    fields_of,
    with_precision,
)
from flows.recipe.checks.adaptation import check_adaptation
from flows.recipe.checks.adversary import check_adversaries
from flows.recipe.checks.auxiliary import check_names_of_terms
from flows.recipe.checks.initialization import check_starts
from flows.recipe.checks.languages import check_readers
from flows.recipe.checks.layers import check_layers
from flows.recipe.checks.problem import check_problem, unmeasured_gates, with_defaults_of_problem
from flows.recipe.checks.roles import check_roles
from flows.recipe.checks.trainable import check_trainable
from flows.recipe.multi_teacher import (
    DECIDED_BY_THRESHOLDS,
    FIRST,
    check_teachers,
    combined_config,
    teacher_seed,
)
from flows.recipe.mutual import check_mutual, mutual_config
from flows.recipe.search_space import Tuning
from flows.recipe.sections import Adaptation, Baselines, Distillation, Mutual, Student, Teacher
from tasks import (
    adaptation,
    combined_signals,
    distillation,
    evaluation,
    teacher,
    teacher_signals,
    tokenization,
)
from tasks.corpus.tokenizers.config import PretrainedTokenizer
from tasks.modeling.config import EncoderProblem
from tasks.runtime.stages import StageConfig
from tasks.teacher_signals import Role
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.matching_config import AnyMatchingTerm


class Recipe(RecipeBase):
    """One complete run of an encoder, from its sources to the registry."""

    problem: EncoderProblem = Field(
        "text_classification", description="problem type: decides head, loss and metrics"
    )
    teacher: Teacher = Field(description="the large model and its fine-tuning")
    co_teachers: dict[str, Teacher] = Field(
        default={},
        description="further teachers by name, such as one of another language: each is fine-tuned "
        "and asked like the first, and what they say is combined",
    )
    combination: combined_signals.Combination = Field(
        default=combined_signals.Combination.model_validate({}),
        description="what each teacher counts, if there are several",
    )
    student: Student = Field(description="the small model, its vocabulary and its training")
    adaptation: Adaptation | None = Field(
        None, description="unlabelled text that encoders read first; none: they do not"
    )
    distillation: Distillation = Field(
        default=Distillation.model_validate({}), description="what the student is trained to match"
    )
    mutual: Mutual | None = Field(
        None, description="networks that the student learns from while they learn from it"
    )
    baselines: Baselines = Field(
        default=Baselines.model_validate({}), description="what it is compared with"
    )
    tuning: Tuning | None = Field(
        None, description="a study over fields of student and distillation; changes no run"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_problem(cls, values: Any) -> Any:
        return with_defaults_of_problem(values)

    @model_validator(mode="after")
    def _sections_agree(self) -> Recipe:
        check_roles(self)
        check_readers(self)
        check_problem(self)
        check_teachers(self.co_teachers, self.combination)
        check_mutual(self)
        check_starts(self)
        check_trainable(self)
        check_layers(self)
        check_adversaries(self)
        check_names_of_terms(self)
        check_adaptation(self)
        self._check_configs()
        return self

    @property
    def problem_name(self) -> EncoderProblem:
        """The recipe's `problem`."""
        return self.problem

    def unmeasured_gates(self) -> dict[str, str]:
        """Fields of `registration.gates` that the report cannot answer, and what it lacks."""
        return unmeasured_gates(self)

    @property
    def teachers(self) -> dict[str, Teacher]:
        """All teachers by name; the first, which students may start from, is `teacher`."""
        return {FIRST: self.teacher, **self.co_teachers}

    @property
    def teacher_languages(self) -> tuple[str, ...]:
        """Languages the first teacher reads."""
        return self.languages_of(FIRST)

    def languages_of(self, name: str) -> tuple[str, ...]:
        """Languages a teacher reads, the preferred one first."""
        return self.teachers[name].languages or (self.source_language,)

    @property
    def student_languages(self) -> tuple[str, ...]:
        """Languages the student reads, the preferred one first."""
        return self.student.languages or (self.target_language,)

    @property
    def student_copies_teacher(self) -> bool:
        """Whether students start from layers of the fine-tuned teacher."""
        return self.student.architecture.copies_teacher

    @property
    def adapted_models(self) -> tuple[Literal["teacher", "student"], ...]:
        """Encoders that read on in unlabelled text before they are trained."""
        return () if self.adaptation is None else self.adaptation.models

    def _configs(self) -> Iterator[StageConfig]:
        yield self.corpus_config()
        yield self.student_tokens_config()
        yield from (self.adaptation_config(model) for model in self.adapted_models)
        for name in self.teachers:
            yield self.teacher_tokens_config(name)
            yield self.teacher_config(name)
            yield self.teacher_signals_config(name)
        if self.co_teachers:
            yield self.combined_signals_config()
        yield mutual_config(self, 0) if self.mutual else self.student_config(0)
        yield self.export_config()
        yield self.evaluation_config()
        yield self.registration_config()

    def teacher_tokens_config(self, name: str = FIRST) -> tokenization.Config:
        """For the step teacher-tokens: the rows that the teacher is fine-tuned on."""
        adversary = dict(self.teachers[name])["adversary"]
        unlabelled: tuple[Role, ...] = ("transfer",) if adversary else ()
        if dict(self.teachers[name])["training"] is None:
            return self._teacher_tokens(name, ("validation",))
        return self._teacher_tokens(name, ("train", "validation", *unlabelled))

    def signal_tokens_config(self, name: str = FIRST) -> tokenization.Config:
        """For the step signal-tokens: the rows on which the fine-tuned teacher is asked."""
        return self._teacher_tokens(name, self.teacher_signals_config(name).roles)

    def student_tokens_config(self) -> tokenization.Config:
        """For the step student-tokens."""
        return tokenization.Config(
            problem=self.problem,
            languages=self.student_languages,
            tokenizer=self.student.tokenizer,
            **fields_of(self.student, Reading),
        )

    def adaptation_config(self, model: Literal["teacher", "student"]) -> adaptation.Config:
        """For the step adapted-teacher or adapted-student."""
        assert self.adaptation is not None
        fields = fields_of(self.adaptation, adaptation.Config)
        fields["languages"] = self.adaptation.languages or (self.target_language,)
        fields["training"] = with_precision(fields["training"])
        if model == "teacher":
            fields["model"] = dict(self.teacher)["model"]
        else:
            fields["architecture"] = self.student.architecture
        return adaptation.Config(seed=self.seed, **fields)

    def teacher_config(self, name: str = FIRST) -> teacher.Config:
        """For the step teacher. Of teachers that read and learn alike each has the next seed."""
        fields = fields_of(self.teachers[name], teacher.Config)
        if fields["training"] is not None:
            fields["training"] = with_precision(fields["training"])
        seed = teacher_seed(self, name)
        return teacher.Config(problem=self.problem, seed=seed, **fields)

    def teacher_signals_config(self, name: str = FIRST) -> teacher_signals.Config:
        """For the step teacher-signals: whatever students are trained on is read too."""
        fields = dict(self.teachers[name].signals)
        # Students learn from signals, and the teacher is measured by its signals on test rows.
        needed: tuple[Role, ...] = ("test",)
        if (
            self.problem == "sentence_embedding"  # the best step is chosen by its vectors
            # Thresholds of what teachers say together are tuned there.
            or (self.co_teachers and self.problem in DECIDED_BY_THRESHOLDS)
            # It is examined on these rows while it learns from its students.
            or (self.mutual and self.mutual.teacher and name == FIRST)
        ):
            needed = ("validation", "test")
        roles = dict.fromkeys((*fields["roles"], *self.distillation.train_on, *needed))
        return with_precision(teacher_signals.Config(**{**fields, "roles": tuple(roles)}))

    def combined_signals_config(self) -> combined_signals.Config:
        """For the step teacher-signals-combined."""
        return combined_config(
            self.combination,
            problem=self.problem,
            languages={name: self.languages_of(name) for name in self.teachers},
            target_language=self.target_language,
            encoder=dict(self.teacher)["model"],
            seed=self.seed,
        )

    def student_config(self, i: int) -> distillation.Config:
        """For the step student-seed-i."""
        return self._student(
            i,
            self.distillation.objective,
            adversary=self.student.adversary,
            matching=self.student.matching,
            ema=self.student.ema,
        )

    def pseudo_label_config(self, i: int) -> distillation.Config:
        """For the step pseudo-labels-seed-i: the teacher's decisions, without its doubts."""
        return self._student(
            i, distillation.ObjectiveConfig(alpha=0.0, temperature=1.0, hard_labels="teacher")
        )

    def supervised_config(self, i: int) -> distillation.Config:
        """For the step supervised-seed-i: gold labels and no teacher."""
        return self._student(
            i,
            distillation.ObjectiveConfig(alpha=0.0, temperature=1.0, hard_labels="gold"),
            num_epochs=self.baselines.supervised_epochs,
        )

    def zero_shot_config(self, i: int) -> distillation.Config:
        """For the step zero-shot-seed-i: gold labels of the source language and no teacher."""
        return self._student(
            i,
            distillation.ObjectiveConfig(alpha=0.0, temperature=1.0, hard_labels="gold"),
            languages=(self.source_language,),
            train_on=("train",),
            num_epochs=self.baselines.zero_shot_epochs,
        )

    def evaluation_config(self) -> evaluation.Config:
        """For the step evaluation."""
        return evaluation.Config(
            recipe=self.name,
            problem=self.problem,
            source_language=self.source_language,
            target_language=self.target_language,
            model_name=self.registration_config().model_name,
            train_on=self.distillation.train_on,
            linear=self.baselines.linear,
            seed=self.seed,
            **dict(self.evaluation),
        )

    def _teacher_tokens(self, name: str, roles: tuple[Role, ...]) -> tokenization.Config:
        # The pretrained model brings its own tokenizer.
        section = self.teachers[name]
        return tokenization.Config(
            problem=self.problem,
            languages=self.languages_of(name),
            tokenizer=PretrainedTokenizer(kind="pretrained", uri=dict(section)["model"]),
            roles=roles,
            **fields_of(section, Reading),
        )

    def _student(
        self,
        i: int,
        objective: distillation.ObjectiveConfig,
        *,
        languages: tuple[str, ...] = (),
        train_on: tuple[Literal["transfer", "train"], ...] = (),
        adversary: AdversaryConfig | None = None,
        matching: tuple[AnyMatchingTerm, ...] = (),
        ema: EMAConfig | None = None,
        num_epochs: int | None = None,
    ) -> distillation.Config:
        training = with_precision(self.student.training)
        if num_epochs is not None:
            training = training.model_copy(update={"num_epochs": num_epochs})
        return distillation.Config(
            problem=self.problem,
            architecture=self.student.architecture,
            objective=objective,
            train_on=train_on or self.distillation.train_on,
            languages=languages,
            source_language=self.source_language if objective.label_source == "source" else None,
            validation_language=None if self.student.validate_on == "all" else self.target_language,
            training=training,
            adversary=adversary,
            matching=matching,
            ema=ema,
            seed=self.seed + i,
        )
