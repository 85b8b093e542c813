"""What an encoder-decoder is made of and how it writes, as recipe fields. Light: imports no torch.

A student may have a deep encoder and a shallow decoder: the encoder reads a text once, the decoder
runs once for every token it writes.

References: Kasai et al. 2021, arXiv:2006.10369 (deep encoder, shallow decoder); Shleifer & Rush
    2020, arXiv:2010.13002 (students out of a teacher's layers).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from data_contracts.artifacts import Frozen

Seq2SeqProblemName = Literal["translation", "summarization", "generation"]
Layers = Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...]


class Seq2SeqShape(Frozen):
    """An encoder-decoder with random initial weights; one matrix embeds source, target, output."""

    init: Literal["random"] = Field(
        "random", description="initial weights: drawn at random, in the shape given here"
    )
    encoder_layers: int = Field(4, ge=1, le=48, description="Transformer layers of the encoder")
    decoder_layers: int = Field(
        2, ge=1, le=48, description="layers of the decoder: what each written token costs"
    )
    hidden_size: int = Field(256, ge=8, le=4096, description="width of the hidden states; even")
    num_heads: int = Field(4, ge=1, le=64, description="attention heads; divides hidden_size")
    intermediate_size: int = Field(
        1024, ge=8, le=16384, description="width of the feed-forward layers"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout on embeddings and layers' outputs")
    positions: Literal["sinusoidal", "learned"] = Field(
        "sinusoidal",
        description="sinusoidal: fixed, nothing to learn (a Marian model); learned: a row a "
        "position (a BART model)",
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Seq2SeqShape:
        if self.hidden_size % self.num_heads or self.hidden_size % 2:
            raise ValueError(
                f"hidden_size {self.hidden_size} is odd or not a multiple of num_heads "
                f"{self.num_heads}"
            )
        return self

    @property
    def copies_teacher(self) -> bool:
        """Whether the weights come from this run's own teacher."""
        return False


class PretrainedSeq2Seq(Frozen):
    """An encoder-decoder read from a folder, whole or cut to some of its layers."""

    init: Literal["pretrained"] = Field(
        description="initial weights: copied from `model`, embeddings and the layers chosen"
    )
    model: str = Field(
        "teacher",
        min_length=1,
        description="`teacher`, for the teacher of this run, or the URI of a pretrained "
        "encoder-decoder: pkg://, hf://, s3:// or a path",
    )
    encoder_layers: Layers | None = Field(
        None,
        description="encoder layers to copy: numbers from 0, or how many of them, spread from the "
        "first to the last; none: all",
    )
    decoder_layers: Layers | None = Field(
        None, description="decoder layers to copy, given as encoder_layers; none: all"
    )

    @model_validator(mode="after")
    def _some_layers_are_left(self) -> PretrainedSeq2Seq:
        for name in ("encoder_layers", "decoder_layers"):
            if getattr(self, name) == ():
                raise ValueError(f"{name} is empty: a student keeps at least one layer")
        return self

    @property
    def copies_teacher(self) -> bool:
        """Whether the weights come from this run's own teacher."""
        return self.model == "teacher"


def _init(value: Any) -> str:
    found = value.get("init") if isinstance(value, dict) else getattr(value, "init", None)
    return "pretrained" if found == "pretrained" else "random"


Seq2SeqArchitecture = Annotated[
    Annotated[Seq2SeqShape, Tag("random")] | Annotated[PretrainedSeq2Seq, Tag("pretrained")],
    Discriminator(_init),
]
"""What a recipe may give as an encoder-decoder; a shape unless `init` says otherwise."""


class DecodingConfig(Frozen):
    """How a text is written; every field defines the result."""

    num_beams: int = Field(
        default=1,
        ge=1,
        le=64,
        description="hypotheses kept a text; 1: the likeliest token at each step",
    )
    length_penalty: float = Field(
        default=1.0,
        ge=-5,
        le=5,
        description="hypotheses are ranked by log-probability / length ** this; only with beams",
    )
    min_length_tokens: int = Field(
        default=0, ge=0, le=4096, description="tokens written at least, before the end mark"
    )
    max_length_tokens: int = Field(
        default=64, ge=1, le=4096, description="tokens written at most, the end mark included"
    )
    no_repeat_ngram_size: int = Field(
        default=0,
        ge=0,
        le=32,
        description="no run of so many tokens is written twice in a text; 0: off",
    )

    @model_validator(mode="after")
    def _lengths_are_in_order(self) -> DecodingConfig:
        if self.min_length_tokens >= self.max_length_tokens:
            raise ValueError(
                f"min_length_tokens {self.min_length_tokens} leaves no room for the end mark below "
                f"max_length_tokens {self.max_length_tokens}"
            )
        return self
