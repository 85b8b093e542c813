"""What tokenizing came to, and how much of it may be cut or unknown."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from data_contracts.artifacts import Frozen
from data_contracts.errors import RecipeError


class ShardCounts(Frozen):
    """What tokenizing one part, or all parts of one role, came to."""

    num_rows: int = Field(default=0, description="rows with tokens")
    num_unread: int = Field(default=0, description="rows in none of the reader's languages")
    num_tokens: int = Field(default=0, description="tokens, special ones included")
    num_truncated: int = Field(default=0, description="texts that were cut")
    num_unknown: int = Field(default=0, description="unknown tokens")
    num_uncut_tokens: int = Field(
        default=0, description="tokens of text before cutting, none special"
    )
    num_characters: int = Field(default=0, description="characters of the texts")
    num_words: int = Field(default=0, description="words between spaces of the texts")
    longest: int = Field(default=0, description="tokens of the longest text before cutting")

    def __add__(self, other: ShardCounts) -> ShardCounts:
        sums = {
            name: getattr(self, name) + getattr(other, name)
            for name in type(self).model_fields
            if name != "longest"
        }
        return ShardCounts(**sums, longest=max(self.longest, other.longest))


def check_limits(
    total: ShardCounts,
    *,
    languages: Sequence[str],
    max_length_tokens: int,
    max_truncated_rate: float,
    max_unknown_rate: float,
) -> None:
    """Refuse tokens of which too many texts were cut or too many tokens are unknown.

    Raises: RecipeError.
    """
    if not total.num_rows:
        raise RecipeError(
            f"none of {total.num_unread:,} rows is in {', '.join(languages)}",
            rule="a reader needs rows in one of its languages",
            remedy="correct `languages`, or the language of the sources",
        )
    if total.num_truncated > max_truncated_rate * total.num_rows:
        raise RecipeError(
            f"{total.num_truncated:,} of {total.num_rows:,} texts are longer than "
            f"max_length_tokens = {max_length_tokens}; the longest has {total.longest:,}",
            rule=f"at most {max_truncated_rate:.0%} of the texts may be cut (max_truncated_rate)",
            remedy="raise max_length_tokens, or max_truncated_rate if the beginning is enough",
        )
    if total.num_unknown > max_unknown_rate * total.num_tokens:
        raise RecipeError(
            f"{total.num_unknown:,} of {total.num_tokens:,} tokens are unknown to the tokenizer",
            rule=f"at most {max_unknown_rate:.0%} may be (max_unknown_rate)",
            remedy=f"use a tokenizer for {', '.join(languages)}, or train one (kind: bpe)",
        )
