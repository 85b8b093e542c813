"""What a recipe may give as a tokenizer; made, read and written in tokenizing.py.

PretrainedTokenizer(uri)      tokenizer.json of a model, truncation and padding taken out
TrimmedTokenizer(uri, ...)    the same, cut to what the reader's texts use: trimming.py
TrainedTokenizer(kind, ...)   a vocabulary of the texts, the same bytes on every machine
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from data_contracts.artifacts import Frozen, WithLaterFields

Kept = Literal["tokens", "scripts"]
"""What of its texts a trimmed tokenizer keeps: their tokens, or all tokens of their scripts."""


class PretrainedTokenizer(Frozen):
    """The tokenizer of a pretrained model."""

    kind: Literal["pretrained"] = Field(
        default="pretrained", description="taken over as it is, from a model or an earlier run"
    )
    uri: str = Field(
        min_length=1,
        description="model folder or tokenizer.json: pkg://, hf://org/name@revision, s3:// or a "
        "path; only the bytes of tokenizer.json define the result",
    )

    @field_validator("uri")
    @classmethod
    def _names_the_file(cls, uri: str) -> str:
        return _tokenizer_file(uri)


class TrimmedTokenizer(WithLaterFields):
    """A pretrained tokenizer cut to the tokens of the reader's texts, or to those of their scripts.

    Texts of `roles` are cut as before; characters that they lack stay readable if their script
    occurs. Words that the texts of train and transfer lack are read in pieces the student has
    hardly learned: where those are few, unlabelled text (role adapt) keeps more words whole, and
    `keep: scripts` all of these scripts that the pretrained tokenizer has, or the first of them.
    """

    later_fields: ClassVar[tuple[str, ...]] = ("keep",)

    kind: Literal["trimmed"] = Field(
        description="a pretrained tokenizer, cut to what the reader's texts need"
    )
    uri: str = Field(
        min_length=1,
        description="model folder or tokenizer.json to cut: pkg://, hf://org/name@revision, s3:// "
        "or a path; only the bytes of tokenizer.json define the result",
    )
    keep: Kept = Field(
        default="tokens",
        description="of the texts their tokens, or, within vocab_size, all tokens of their "
        "scripts (Latin, Han, ...; one character is enough), so that words which they lack are "
        "whole, at an embedding row each",
    )
    vocab_size: int | None = Field(
        default=None,
        ge=64,
        le=1_000_000,
        description="entries at most: special tokens and characters of the texts, their most "
        "frequent tokens, further characters of their scripts, then (keep: scripts) the first of "
        "the pretrained tokenizer's; none: no limit, and none of the texts is cut differently",
    )
    roles: tuple[Literal["train", "transfer", "adapt"], ...] = Field(
        default=("train", "transfer"),
        min_length=1,
        description="roles whose texts in the reader's languages decide what is kept; adapt is "
        "unlabelled text",
    )
    max_training_texts: int = Field(
        default=1_000_000,
        ge=1000,
        le=100_000_000,
        description="different texts that decide what is kept at most, chosen by hash; bounds "
        "memory (about 300 bytes each)",
    )

    @field_validator("uri")
    @classmethod
    def _names_the_file(cls, uri: str) -> str:
        return _tokenizer_file(uri)


def _tokenizer_file(uri: str) -> str:
    # The key then follows the tokenizer alone: a model trained further keeps its tokens.
    if uri.startswith("hf://") or uri.endswith(".json"):
        return uri
    return uri.rstrip("/") + "/tokenizer.json"


class TrainedTokenizer(Frozen):
    """A tokenizer trained on what the reader reads in the roles train and transfer."""

    kind: Literal["bpe", "wordpiece"] = Field(
        description="how texts are cut: replaying merges (bpe) or longest token first (wordpiece)"
    )
    vocab_size: int = Field(
        default=8000,
        ge=64,
        le=500_000,
        description="entries at most, five special tokens included; each costs one embedding row",
    )
    lowercase: bool = Field(
        default=True,
        description="read A and a alike; where texts are written (translation, summarization, "
        "generation) the case always stays",
    )
    min_frequency: int = Field(
        default=2, ge=1, le=1_000_000, description="occurrences a pair needs to become one token"
    )
    max_token_characters: int = Field(
        default=16,
        ge=2,  # the library merges any two characters whatever its limit
        le=64,
        description="longest token, in characters; 2 to 4 for Chinese or Japanese keeps whole "
        "phrases of a template from becoming one token",
    )
    max_training_texts: int = Field(
        default=1_000_000,
        ge=1000,
        le=100_000_000,
        description="different texts it learns from at most, chosen by hash; bounds memory (about "
        "300 bytes each), and more hardly change a vocabulary",
    )


Tokenizer = Annotated[
    PretrainedTokenizer | TrimmedTokenizer | TrainedTokenizer, Field(discriminator="kind")
]
"""What a recipe may give as a tokenizer."""
