"""Recipe of an encoder-decoder: translation, summarization, replies.

The counterpart of `flows.recipe.recipe` for problems whose answer is a text; both have the same
steps. Teacher and student read the same sources. If the student names no tokenizer it has the
teacher's, which word-level distillation needs; with one of its own it can learn the teacher's
texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen
from data_contracts.evaluation import language_of_texts
from flows.recipe.base import (
    Reading,
    RecipeBase,
    fields_of,
    is_labelled,
    section,
    with_precision,
    words_are_lent,
)
from flows.recipe.checks.languages import check_languages, languages_offered
from flows.recipe.checks.seq2seq import check_writers, with_decoding
from tasks import evaluation, seq2seq_signals, seq2seq_student, seq2seq_teacher, tokenization
from tasks.corpus.tokenizers.config import PretrainedTokenizer, Tokenizer
from tasks.modeling.encoder_decoder.config import (
    DecodingConfig,
    PretrainedSeq2Seq,
    Seq2SeqProblemName,
)
from tasks.runtime.stages import StageConfig

_DECODING = (
    "how it writes: kept in the folder; if nothing is said of it, by beam search as texts of the "
    "problem are written"
)
_SHARED = ("problem", "target_language", "seed")


class TeacherSignals(section(seq2seq_signals.Config, without=("target_language", "decoding"))):
    """What the teacher is asked, once for all students; it writes as `teacher.decoding` says."""


class Teacher(Reading, section(seq2seq_teacher.Config, without=_SHARED)):
    """The large model: what it starts from, how it reads, writes and is trained."""

    languages: tuple[str, ...] = Field(
        default=(),
        description="languages of the texts that are read, the preferred one first; empty: the "
        "source language and, but for a translation, the target language",
    )
    tokenizer: Tokenizer | None = Field(
        default=None,
        description="its vocabulary, of sources and targets; none: that of the pretrained model",
    )
    decoding: DecodingConfig = Field(default=DecodingConfig(), description=_DECODING)
    signals: TeacherSignals = Field(
        default=TeacherSignals.model_validate({}), description="what the teacher is asked"
    )

    @model_validator(mode="after")
    def _has_a_vocabulary(self) -> Teacher:
        start = dict(self)["architecture"]
        if self.tokenizer is None and not isinstance(start, PretrainedSeq2Seq):
            raise ValueError(
                "teacher.tokenizer is missing: a teacher with random weights has no vocabulary yet"
            )
        return self

    @property
    def vocabulary(self) -> Tokenizer:
        """The tokenizer: its own, or that of the pretrained model."""
        if self.tokenizer is not None:
            return self.tokenizer
        return PretrainedTokenizer(kind="pretrained", uri=dict(self)["architecture"].model)


class Student(
    section(seq2seq_student.Config, without=(*_SHARED, "objective", "train_on", "validation_texts"))
):
    """The small model, its vocabulary and its training."""

    tokenizer: Tokenizer | None = Field(
        default=None,
        description="its own vocabulary; none: the teacher's, which word-level distillation and "
        "layers of the teacher need",
    )
    decoding: DecodingConfig = Field(default=DecodingConfig(), description=_DECODING)


class Distillation(seq2seq_student.ObjectiveConfig):
    """What the student is trained to match, and on which rows."""

    train_on: tuple[Literal["transfer", "train"], ...] = Field(
        default=("train",), min_length=1, description="roles of the rows the student is trained on"
    )

    @property
    def objective(self) -> seq2seq_student.ObjectiveConfig:
        """The fields of the training objective, in the form they were given in."""
        return seq2seq_student.ObjectiveConfig.model_validate(self.model_dump(exclude={"train_on"}))


class Baselines(Frozen):
    """Systems the student is compared with; each costs as much as a student a seed."""

    pseudo_labels: bool = Field(
        default=True,
        description="the same student on the teacher's texts alone: sequence-level distillation",
    )
    no_kd: bool = Field(default=True, description="the same student on gold texts: no distillation")


class Seq2SeqRecipe(RecipeBase):
    """One complete run of an encoder-decoder, from its sources to the registry."""

    problem: Seq2SeqProblemName = Field(description="problem type: decides metrics")
    teacher: Teacher = Field(description="the large model and its training")
    student: Student = Field(description="the small model, its vocabulary and its training")
    distillation: Distillation = Field(
        default=Distillation.model_validate({}), description="what the student is trained to match"
    )
    baselines: Baselines = Field(
        default=Baselines.model_validate({}), description="what it is compared with"
    )

    @model_validator(mode="before")
    @classmethod
    def _written_as_the_problem_is(cls, values: Any) -> Any:
        return with_decoding(values)

    @model_validator(mode="after")
    def _sections_agree(self) -> Seq2SeqRecipe:
        self._check_roles()
        check_writers(self)
        if self.student.tokenizer is not None and (
            self.distillation.compares_distributions or self.student_needs_teacher
        ):
            raise ValueError(
                "student.tokenizer differs from the teacher's, but distillation.alpha is above 0, "
                "distillation.terms compare distributions over tokens, or the student starts from "
                "the teacher or learns on policy: leave student.tokenizer out, or set alpha and "
                "on_policy.share to 0"
            )
        self._check_configs()
        return self

    def _check_roles(self) -> None:
        """The sources hold what the teacher and the student are to be trained on."""
        readable, sources = self.languages, self.corpus_config().sources
        words_are_lent((self.teacher.tokenizer, self.student.tokenizer), sources)
        check_languages({"teacher.languages": self.teacher.languages}, sources)
        known = [s for s in sources if s.language in readable]
        if not any(s.role == "train" and is_labelled(s) for s in known):
            raise ValueError(
                f"no source has the role train, a language that is read ({', '.join(readable)}) "
                "and target texts: the teacher would have nothing to learn from; "
                f"{languages_offered(sources)}"
            )
        rows = [s for s in known if s.role in self.distillation.train_on]
        if not rows:
            raise ValueError(
                f"no source has the role {' or '.join(self.distillation.train_on)} and a language "
                f"that is read ({', '.join(readable)}): the student would have nothing to learn "
                "from"
            )
        if not any(is_labelled(s) for s in rows) and (
            self.baselines.no_kd or self.distillation.targets == "gold"
        ):
            raise ValueError(
                f"{', '.join(s.name for s in rows)} has no target texts, but gold ones are asked "
                "for: set distillation.targets to teacher and baselines.no_kd to false"
            )

    @property
    def problem_name(self) -> Seq2SeqProblemName:
        """The recipe's `problem`."""
        return self.problem

    def unmeasured_gates(self) -> dict[str, str]:
        """Fields of `registration.gates` that the report cannot answer, and what it lacks."""
        lacks = {"min_int8_agreement": f"is of {self.problem}, delivered without an int8 form"}
        if not (self.baselines.pseudo_labels or self.baselines.no_kd):
            lacks["min_gain_over_no_kd"] = (
                "trains no student without distillation (baselines.pseudo_labels, baselines.no_kd)"
            )
        return lacks

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of the texts that are read."""
        if self.teacher.languages:
            return self.teacher.languages
        asked = language_of_texts(self.problem, self.source_language, self.target_language)
        # The report tests the teacher in the source language, the student where it is asked.
        return tuple(dict.fromkeys((self.source_language, asked)))

    @property
    def student_needs_teacher(self) -> bool:
        """Whether the teacher itself, beside its signals, is an input of the student."""
        return self.student_config(0).needs_teacher

    def _configs(self) -> Iterator[StageConfig]:
        yield self.corpus_config()
        yield self.teacher_tokens_config()
        yield self.student_tokens_config()
        yield self.teacher_config()
        yield self.teacher_signals_config()
        yield self.student_config(0)
        yield self.export_config()
        yield self.evaluation_config()
        yield self.registration_config()

    def teacher_tokens_config(self) -> tokenization.Config:
        """For the step teacher-tokens: all rows, as the teacher is asked about them too."""
        return self._tokens(self.teacher.vocabulary)

    def student_tokens_config(self) -> tokenization.Config:
        """For the step student-tokens: the teacher's, unless the student has its own tokenizer."""
        return self._tokens(self.student.tokenizer or self.teacher.vocabulary)

    def teacher_config(self) -> seq2seq_teacher.Config:
        """For the step teacher."""
        fields = fields_of(self.teacher, seq2seq_teacher.Config)
        fields["training"] = with_precision(fields["training"])
        return seq2seq_teacher.Config(
            problem=self.problem, target_language=self.target_language, seed=self.seed, **fields
        )

    def teacher_signals_config(self) -> seq2seq_signals.Config:
        """For the step teacher-signals: whatever students are trained on is read too."""
        fields = dict(self.teacher.signals)
        roles = dict.fromkeys((*fields["roles"], *self.distillation.train_on, "test"))
        return with_precision(
            seq2seq_signals.Config(
                target_language=self.target_language,
                decoding=dict(self.teacher)["decoding"],
                **{**fields, "roles": tuple(roles)},
            )
        )

    def student_config(self, i: int) -> seq2seq_student.Config:
        """For the step student-seed-i."""
        return self._student(i, self.distillation.objective)

    def pseudo_label_config(self, i: int) -> seq2seq_student.Config:
        """For the step pseudo-labels-seed-i: the teacher's texts, without its doubts."""
        return self._student(i, seq2seq_student.ObjectiveConfig(alpha=0.0, targets="teacher"))

    def no_kd_config(self, i: int) -> seq2seq_student.Config:
        """For the step no-kd-seed-i: gold texts and no teacher."""
        return self._student(i, seq2seq_student.ObjectiveConfig(alpha=0.0, targets="gold"))

    def evaluation_config(self) -> evaluation.Config:
        """For the step evaluation."""
        return evaluation.Config(
            recipe=self.name,
            problem=self.problem,
            source_language=self.source_language,
            target_language=self.target_language,
            model_name=self.registration_config().model_name,
            train_on=self.distillation.train_on,
            linear=False,
            seed=self.seed,
            **dict(self.evaluation),
        )

    def _tokens(self, tokenizer: Tokenizer) -> tokenization.Config:
        return tokenization.Config(
            problem=self.problem,
            languages=self.languages,
            tokenizer=tokenizer,
            **fields_of(self.teacher, Reading),
        )

    def _student(
        self, i: int, objective: seq2seq_student.ObjectiveConfig
    ) -> seq2seq_student.Config:
        fields = fields_of(self.student, seq2seq_student.Config)
        fields["training"] = with_precision(fields["training"])
        return seq2seq_student.Config(
            problem=self.problem,
            target_language=self.target_language,
            objective=objective,
            train_on=self.distillation.train_on,
            validation_texts=dict(self.teacher)["validation_texts"],
            seed=self.seed + i,
            **fields,
        )
