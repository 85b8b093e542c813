"""Texts as tensors, in the layouts that a classifier reads.

    texts            [5 6 7]  [8 9]  [3]

    padded  (B, L)   5 6 7      attention_mask   1 1 1
                     8 9 .                       1 1 0
                     3 . .                       1 0 0

    rows    (R, W)   5 6 7 3    segment_ids      0 0 0 2    position_ids  0 1 2 0
                     8 9 . .                     1 1 3 3                  0 1 0 0

    stream  (1, T)   5 6 7 8 9 3 . .             0 0 0 1 1 2 3 3          0 1 2 0 1 0 0 0

Padding computes on every dot; the packed layouts have next to none, and shapes that stay the same
from step to step. Segment s < B is text s; what follows is filler, whose results nobody reads.

Shapes: B texts, L length, R rows, W row width, T tokens of a stream, S segments, U units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

PackedKernel = Literal["rows", "varlen", "flex"]
Record = TypeVar("Record")


@dataclass(frozen=True)
class Packing:
    """Where the texts of a packed layout lie; (R, W) is (1, T) for a stream.

    Args:
        kernel: which attention reads it, see `tasks.modeling.attention.packed_attention`.
        position_ids_RW: int64, from 0 in each text.
        segment_ids_RW: int64, in [0, S).
        first_tokens_S: int64, flat index of each text's first token; 0 for filler.
        num_tokens_S: float32, tokens of each text; 1 for filler.
        longest: no segment has more tokens; the same in every pass, so that shapes are static.
        segment_starts: int32, (S + 1,), for `varlen`: segment s is tokens [s] to [s + 1].
        block_bounds: int64, (2, blocks), for `flex`: first and last block that each block sees.
    """

    kernel: PackedKernel
    position_ids_RW: Tensor
    segment_ids_RW: Tensor
    first_tokens_S: Tensor
    num_tokens_S: Tensor
    longest: int
    segment_starts: Tensor | None = None
    block_bounds: Tensor | None = None


@dataclass(frozen=True)
class Texts:
    """Token ids of some texts: padded with a mask, or packed.

    Args:
        input_ids: int64, (B, L) padded, (R, W) in rows, (1, T) as a stream.
        attention_mask_BL: int64, 1 for real tokens; only if padded.
        packing: only if packed.
        read_out_U: int64, places in the flattened `input_ids` of the tokens that a head over units
            (words, characters) reads, unit after unit; None if whole texts are classified.
    """

    input_ids: Tensor
    attention_mask_BL: Tensor | None = None
    packing: Packing | None = None
    read_out_U: Tensor | None = None


def map_tensors(record: Record, function: Callable[[Tensor], Tensor]) -> Record:
    """`record`, a dataclass, with `function` applied to each tensor in it and its dataclasses."""
    changed: dict[str, Any] = {}
    for field in fields(record):  # pyright: ignore[reportArgumentType]
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            changed[field.name] = function(value)
        elif is_dataclass(value):
            changed[field.name] = map_tensors(value, function)
        elif isinstance(value, tuple):
            changed[field.name] = tuple(
                map_tensors(item, function) if is_dataclass(item) else item for item in value
            )
    return replace(record, **changed)  # pyright: ignore[reportArgumentType, reportCallIssue]


def pinned(record: Record) -> Record:
    """`record` in page-locked memory, from which copies to a GPU overlap with its work."""
    return map_tensors(record, Tensor.pin_memory)


def moved(record: Record, device: torch.device) -> Record:
    """`record` on `device`; does not wait for the copy if the source is pinned."""
    return map_tensors(record, lambda tensor: tensor.to(device, non_blocking=True))
