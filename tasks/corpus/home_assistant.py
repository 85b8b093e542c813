"""Voice commands for a smart home in many languages, from the package `home_assistant_intents`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen


class HomeAssistantSource(Frozen):
    """Commands sampled from the sentence templates of the package `home_assistant_intents`."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="how reports and the quarantine call it; lowercase, unique in the recipe",
    )
    format: Literal["home_assistant_intents"] = Field(description="this collection")
    uri: str = Field(
        default="pkg://home_assistant_intents/data",
        description="folder of the package's template files, one JSON file a language",
    )
    role: Literal["train", "transfer", "validation", "test"] = Field(
        description="train, validation and test take their own share of each intent's templates, "
        "so that test sentences have a wording never trained on; transfer takes the train share"
    )
    language: str = Field(description="language of `text`: en, zh or de")
    parallel_language: str | None = Field(
        default=None,
        description="for transfer: language of `parallel_text`, same intent and same slot values",
    )
    shared_with: tuple[str, ...] = Field(
        default=(),
        description="keep only intents that these languages have too, so that all sources of a "
        "recipe have one label set",
    )
    max_rows_per_template: int = Field(
        default=4,
        ge=1,
        le=1000,
        description="rows sampled from one sentence template (pairs, for transfer); more rows are "
        "more of the same wording",
    )
    seed: int = Field(default=0, ge=0, description="seed of the sampling")

    @model_validator(mode="after")
    def _is_coherent(self) -> HomeAssistantSource:
        if (self.role == "transfer") != (self.parallel_language is not None):
            raise ValueError(
                f"source {self.name!r}: the role transfer needs parallel_language, and only it"
            )
        return self
