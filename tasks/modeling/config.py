"""The shape of a student made from scratch, as recipe fields. Light: imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen

Pooling = Literal["mean", "cls"]


class StudentArchitecture(Frozen):
    """A BERT-shaped Transformer encoder with random initial weights.

    Parameters grow as num_layers * (4 * hidden_size**2 + 2 * hidden_size * intermediate_size)
    plus vocabulary * hidden_size.
    """

    num_layers: int = Field(2, ge=1, le=48, description="Transformer layers")
    hidden_size: int = Field(192, ge=8, le=4096, description="width of the hidden states")
    num_heads: int = Field(4, ge=1, le=64, description="attention heads; divides hidden_size")
    intermediate_size: int = Field(
        768, ge=8, le=16384, description="width of the feed-forward layers"
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="dropout probability in the encoder and before the head"
    )
    pooling: Pooling = Field(
        "mean", description="text vector: mean over tokens, or the first token's state"
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> StudentArchitecture:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
        return self
