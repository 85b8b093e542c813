"""The special tokens that a tokenizer puts around one text, or around and between two."""

from __future__ import annotations

from typing import Any


def special_tokens(tokenizer: Any, *, pair: bool) -> tuple[list[int], list[int], list[int]]:
    """Special tokens before, between and after two texts; of one text, "between" is empty."""
    encoding = tokenizer.encode("0", "0") if pair else tokenizer.encode("0")
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    place = 0
    for number, sequence in zip(encoding.ids, encoding.sequence_ids, strict=True):
        if sequence is None:
            parts[place].append(number)
        else:
            place = 1 if pair and sequence == 0 else 2
    return parts
