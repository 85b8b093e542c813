"""What a tuning study may change: fields of the recipe, and the values they may take.

    tuning:
      num_trials: 20
      parameters:
        - {path: distillation.alpha, kind: float, low: 0, high: 1}
        - {path: student.training.learning_rate, kind: float, low: 1.0e-4, high: 1.0e-2, log: true}
        - {path: student.architecture.num_layers, kind: int, low: 1, high: 4}
        - {path: student.architecture.pooling, kind: categorical, choices: [mean, cls]}

Only what students alone depend on may be named (`student`, `distillation`): corpus, teacher and
signals are the same in each trial, and so come from the store. Trials are judged by validation rows
and never by test rows, or the test figures of the chosen recipe would be flattered.

Light: imports neither torch nor optuna.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from data_contracts.artifacts import Frozen

_SECTIONS = ("student.", "distillation.")
_PATH = r"^[a-z0-9_]+(\.[a-z0-9_]+)+$"


class _Parameter(Frozen):
    path: str = Field(
        pattern=_PATH,
        description="the field of the recipe, such as distillation.alpha; below student or "
        "distillation",
    )

    @model_validator(mode="after")
    def _belongs_to_students(self) -> _Parameter:
        if not self.path.startswith(_SECTIONS):
            raise ValueError(
                f"{self.path} is below neither student nor distillation: trials share the corpus, "
                "the teacher and its signals"
            )
        return self


class FloatParameter(_Parameter):
    """A real number between two limits."""

    kind: Literal["float"] = Field(description="a real number")
    low: float = Field(description="smallest value")
    high: float = Field(description="largest value")
    log: bool = Field(False, description="draw its logarithm evenly: for rates and weights")

    @model_validator(mode="after")
    def _is_a_range(self) -> FloatParameter:
        _check_range(self.path, self.low, self.high, log=self.log)
        return self

    @property
    def examples(self) -> tuple[JsonValue, ...]:
        """Values that stand for all."""
        return (self.low, self.high)


class IntParameter(_Parameter):
    """A whole number between two limits, in steps."""

    kind: Literal["int"] = Field(description="a whole number")
    low: int = Field(description="smallest value")
    high: int = Field(description="largest value")
    step: int = Field(1, ge=1, description="distance of neighbouring values, from low on")
    log: bool = Field(False, description="draw its logarithm evenly; not together with step")

    @model_validator(mode="after")
    def _is_a_range(self) -> IntParameter:
        _check_range(self.path, self.low, self.high, log=self.log)
        if self.log and self.step != 1:
            raise ValueError(f"{self.path}: log and a step of {self.step} exclude each other")
        return self

    @property
    def examples(self) -> tuple[JsonValue, ...]:
        """Values that stand for all."""
        return (self.low, self.high)


class CategoricalParameter(_Parameter):
    """One of some values, of any kind that the field takes."""

    kind: Literal["categorical"] = Field(description="one of `choices`")
    choices: tuple[JsonValue, ...] = Field(
        min_length=2, description="the values; whole sections and lists too"
    )

    @model_validator(mode="after")
    def _choices_differ(self) -> CategoricalParameter:
        if len(set(self.labels)) < len(self.choices):
            raise ValueError(f"{self.path}: a choice is given twice")
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """The choices as JSON text, by which a study knows them."""
        return tuple(json.dumps(choice, ensure_ascii=False) for choice in self.choices)

    @property
    def examples(self) -> tuple[JsonValue, ...]:
        """All of them."""
        return self.choices


Parameter = Annotated[
    FloatParameter | IntParameter | CategoricalParameter, Field(discriminator="kind")
]


class Tuning(Frozen):
    """A study: how many trials, of what, judged by which validation figure."""

    parameters: tuple[Parameter, ...] = Field(
        min_length=1, description="the fields that a trial changes"
    )
    num_trials: int = Field(
        20, ge=1, le=10_000, description="trials in all; raise it to go on with a finished study"
    )
    trials_at_once: int = Field(
        1,
        ge=1,
        le=64,
        description="trials drawn together, before the results of one another are known; small "
        "students of one draw are trained side by side on CPUs",
    )
    metric: str = Field(
        "auto",
        pattern="^[a-z0-9_]+$",
        description="figure of the validation rows that trials are compared by: auto (the "
        "problem's primary one), loss (the lower the better), or another that the problem measures",
    )
    sampler: Literal["tpe", "random"] = Field(
        "tpe",
        description="how values are drawn: near those of the better trials (tpe), or evenly",
    )
    num_startup_trials: int = Field(
        6, ge=1, description="first trials, drawn evenly and never ended early"
    )
    pruner: Literal["median", "none"] = Field(
        "median",
        description="median: end a trial whose best validation figure so far is below the median "
        "of the finished trials at the same validation",
    )
    warmup_validations: int = Field(
        1, ge=0, description="validations of a trial before it may be ended early"
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="seed of the values drawn")

    @model_validator(mode="after")
    def _paths_differ(self) -> Tuning:
        paths = [parameter.path for parameter in self.parameters]
        if twice := sorted({path for path in paths if paths.count(path) > 1}):
            raise ValueError(f"parameters: {', '.join(twice)} is named twice")
        return self


def _check_range(path: str, low: float, high: float, *, log: bool) -> None:
    if not low < high:
        raise ValueError(f"{path}: low {low} is not below high {high}")
    if log and low <= 0:
        raise ValueError(f"{path}: the logarithm of {low} is not drawn: low must be above 0")
