"""Rules that look at one row at a time: length, language, labels."""

from __future__ import annotations

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen


class FilterConfig(Frozen):
    """Which rows are set aside for what they are, with a reason code each."""

    min_length_characters: int = Field(
        default=1, ge=1, description="shorter normalised texts are too_short, in characters"
    )
    max_length_characters: int = Field(
        default=4000, ge=1, description="longer normalised texts are too_long, in characters"
    )
    check_language: bool = Field(
        default=True,
        description="set rows aside as language_mismatch whose script (or, for long texts, whose "
        "confidently identified language) is not the one their source declares",
    )
    min_identified_characters: int = Field(
        default=60,
        ge=20,
        description="texts at least this long are also checked by statistical language "
        "identification, in characters; on shorter ones it guesses",
    )
    labels: tuple[str, ...] | None = Field(
        default=None,
        description="the only labels allowed; others are unknown_label. By default the labels of "
        "the train rows",
    )

    @model_validator(mode="after")
    def _is_coherent(self) -> FilterConfig:
        if self.max_length_characters < self.min_length_characters:
            raise ValueError(
                f"max_length_characters {self.max_length_characters} is below "
                f"min_length_characters {self.min_length_characters}: no text can pass"
            )
        return self
