"""What every recipe has, whatever its problem: name, languages, sources, and what is delivered.

A recipe's sections are the stages' own configurations: a field and its description are written
once, beside the code that they configure. What several stages share is written once at the top and
handed to each stage by the `..._config` methods.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, create_model

from data_contracts.artifacts import Frozen
from data_contracts.errors import RecipeError
from data_contracts.evaluation import language_of_texts
from tasks import evaluation, export, ingestion, registration, tokenization
from tasks.corpus.tokenizers.config import TrimmedTokenizer
from tasks.runtime.machine.device import resolve_precision
from tasks.runtime.stages import StageConfig
from tasks.serving.bundle.example_texts import example_texts
from tasks.serving.bundle.interfaces import input_rows

LANGUAGE = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$"
Precise = TypeVar("Precise", bound=BaseModel)
_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"


def section(config: type[StageConfig], *, without: tuple[str, ...]) -> type[Frozen]:
    """A model with the fields of a stage's configuration, but those the whole recipe shares."""
    fields: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in config.model_fields.items()
        if name not in without
    }
    return create_model(f"{config.__module__}.Section", __base__=Frozen, **fields)


class Data(section(ingestion.Config, without=("problem", "source_language", "target_language"))):
    """Where rows come from, and the rules they must pass."""


class Reading(section(tokenization.Config, without=("problem", "languages", "tokenizer", "roles"))):
    """How many tokens of a text a model reads, and how well its vocabulary must fit."""


class Export(section(export.Config, without=("normalization",))):
    """The delivered files, and how far they may differ from the trained network."""


class Evaluation(
    section(
        evaluation.Config,
        without=(
            "recipe",
            "problem",
            "source_language",
            "target_language",
            "model_name",
            "train_on",
            "linear",
            "seed",
        ),
    )
):
    """How systems are compared and timed."""


class Registration(section(registration.Config, without=("example_texts",))):
    """The registered model's name, and the gates before the registry."""

    example_texts: tuple[str | tuple[str, ...], ...] = Field(
        (),
        description="texts in the target language shown as the model's input example, to whoever "
        "sees the registry, or lists of texts where a model is asked with several (question and "
        "context, text and text_b); empty: a greeting in that language",
    )


class RecipeBase(Frozen):
    """What all recipes share; `problem` and the sections about models are each kind's own."""

    name: str = Field(pattern=_NAME, description="names runs, reports and folders; lowercase")
    description: str = Field("", max_length=2000, description="for people; changes no result")
    source_language: str = Field(
        pattern=LANGUAGE, description="BCP-47 tag of the teacher's language, such as en"
    )
    target_language: str = Field(
        pattern=LANGUAGE, description="BCP-47 tag of the student's language, such as zh"
    )
    seed: int = Field(
        0, ge=0, le=2**31 - 1, description="first seed; step i of several seeds uses seed + i"
    )
    num_seeds: int = Field(
        1, ge=1, le=20, description="students trained, for mean ± sd; the first is delivered"
    )
    data: Data = Field(description="sources and the rules their rows must pass")
    export: Export = Field(default=Export(), description="the delivered files")
    evaluation: Evaluation = Field(default=Evaluation(), description="how systems are compared")
    registration: Registration = Field(description="the registry and the gates before it")

    @property
    @abstractmethod
    def problem_name(self) -> Any:
        """The recipe's `problem`."""

    @abstractmethod
    def unmeasured_gates(self) -> dict[str, str]:
        """Fields of `registration.gates` that the report cannot answer, and what it lacks."""

    @abstractmethod
    def evaluation_config(self) -> evaluation.Config:
        """For the step evaluation."""

    @abstractmethod
    def _configs(self) -> Iterator[StageConfig]:
        """The configurations of all stages that every run has."""

    def _check_configs(self) -> None:
        """Build each stage's configuration once, so that what one refuses is told now."""
        try:
            list(self._configs())
        except ValidationError as error:
            found = (
                f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()
            )
            raise ValueError("; ".join(found)) from None

    def check_gates(self) -> None:
        """Refuse a gate for which the recipe measures nothing, before hours of training.

        Asked by whole runs: studies of many students build parts that never come to the gates.

        Raises: RecipeError
        """
        gates = dict(dict(self.registration)["gates"])
        for field, lack in self.unmeasured_gates().items():
            if gates[field] is not None:
                raise RecipeError(
                    f"registration.gates.{field} is {gates[field]:g}, but the recipe {lack}",
                    rule="a gate that was not measured refuses the student, after all is trained",
                    remedy=f"set registration.gates.{field} to null, or change what it lacks",
                )

    def locations(self) -> tuple[str, ...]:
        """URIs of all sources and models that the recipe names, each once."""
        found = (uri for config in self._configs() for uri in config.locations())
        return tuple(dict.fromkeys(found))

    def corpus_config(self) -> ingestion.Config:
        """For the step corpus."""
        return ingestion.Config(
            problem=self.problem_name,
            source_language=self.source_language,
            target_language=self.target_language,
            **dict(self.data),
        )

    def export_config(self) -> export.Config:
        """For the step export: the delivered model normalises texts as the corpus did."""
        return export.Config(normalization=self.corpus_config().normalization, **dict(self.export))

    def registration_config(self) -> registration.Config:
        """For the step registration."""
        fields = dict(self.registration)
        examples = self.registration.example_texts
        asked = language_of_texts(self.problem_name, self.source_language, self.target_language)
        examples = examples or example_texts(asked, self.problem_name)
        input_rows(self.problem_name, examples)  # told now, not after the training
        return registration.Config(**{**fields, "example_texts": examples})


def fields_of(section: BaseModel, config: type[BaseModel]) -> dict[str, Any]:
    """Those fields of `section` that `config` has too, unconverted."""
    return {name: value for name, value in section if name in config.model_fields}


def with_precision(config: Precise) -> Precise:
    """`config` with precision `auto` resolved for this machine: it defines the result."""
    return config.model_copy(update={"precision": resolve_precision(dict(config)["precision"])})


def words_are_lent(tokenizers: Iterable[Any], sources: Iterable[Any]) -> bool:
    """Whether a trimmed tokenizer keeps the words of sources of the role adapt.

    Raises: ValueError if one would, but there is no such source.
    """
    trimmed = [one for one in tokenizers if isinstance(one, TrimmedTokenizer)]
    lent = any("adapt" in one.roles for one in trimmed)
    if lent and not any(source.role == "adapt" for source in sources):
        raise ValueError(
            "tokenizer.roles has adapt, but no source has that role: add one, or leave adapt out"
        )
    return lent


def is_labelled(source: Any) -> bool:
    """Whether the rows of a source carry labels, spans, answers or target texts."""
    columns = getattr(source, "columns", None)
    return columns is None or bool(columns.annotations)
