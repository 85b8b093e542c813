"""The tensors of the forward passes that read some texts, in a given layout.

Every text is in one pass; padded passes hold their texts row by row, packed ones as `packing.py`
places them. What a head over units reads is pointed to in either.

Shapes: B texts of a pass, L length, R rows, W row width, U units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from tasks.modeling.heads.units import Units
from tasks.modeling.texts import PackedKernel, Packing, Texts
from tasks.training.batching.layouts import Layout, round_up
from tasks.training.batching.packing import (
    Placement,
    block_bounds,
    fill_rows,
    fill_stream,
    filler_segments,
    lay_out,
)
from tasks.training.batching.ragged import RaggedIds


@dataclass(frozen=True)
class Pass:
    """Texts of one forward pass, and which of the step they are: indices into its rows."""

    texts: Texts
    members: np.ndarray


def make_passes(
    input_ids: RaggedIds,
    rows: np.ndarray,
    layout: Layout,
    *,
    pad_token_id: int,
    units: Units | None = None,
) -> Iterator[Pass]:
    """The passes that read the texts `rows`, each text once.

    Args:
        units: what is read out of each text, for heads over units.
    """
    for one in _text_passes(input_ids, rows, layout, pad_token_id):
        yield one if units is None else _read_out(one, units, rows[one.members])


def _read_out(one: Pass, units: Units, rows: np.ndarray) -> Pass:
    """`one` with the places of the units of its texts, which are `rows`."""
    texts = one.texts
    if texts.packing is None:
        first_tokens = np.arange(len(rows)) * texts.input_ids.shape[1]
    else:
        first_tokens = texts.packing.first_tokens_S.numpy()[: len(rows)]
    places = np.repeat(first_tokens, units.counts(rows)) + units.positions[units.of(rows)]
    read_out = torch.from_numpy(places.astype(np.int64, copy=False))
    return replace(one, texts=replace(texts, read_out_U=read_out))


def _text_passes(
    input_ids: RaggedIds, rows: np.ndarray, layout: Layout, pad_token_id: int
) -> Iterator[Pass]:
    lengths = input_ids.offsets[rows + 1] - input_ids.offsets[rows]
    if layout.kind == "padded":
        everything = np.arange(len(rows))
        yield Pass(_padded(input_ids, rows, pad_token_id=pad_token_id), everything)
    elif layout.kind == "bucketed":
        order = np.argsort(-lengths, kind="stable")  # longest first: memory peaks at once
        start = 0
        while start < len(order):
            widest = max(1, int(lengths[order[start]]))
            members = order[start : start + max(1, layout.pass_tokens // widest)]
            yield Pass(_padded(input_ids, rows[members], pad_token_id=pad_token_id), members)
            start += len(members)
    else:
        yield from _packed_passes(input_ids, rows, lengths, layout, pad_token_id)


def pad(input_ids: RaggedIds, rows: np.ndarray, *, pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask of `rows`, right-padded to the longest: two (B, L) int64 tensors."""
    starts = input_ids.offsets[rows]
    lengths = input_ids.offsets[rows + 1] - starts
    columns = np.arange(int(lengths.max(initial=1)))
    real = columns[None, :] < lengths[:, None]
    ids = np.full(real.shape, pad_token_id, dtype=np.int64)
    ids[real] = input_ids.values[(starts[:, None] + columns[None, :])[real]]
    return torch.from_numpy(ids), torch.from_numpy(real.astype(np.int64))


def pad_steps(
    input_ids: RaggedIds, steps: Sequence[np.ndarray], *, pad_token_id: int
) -> list[Texts]:
    """`pad` for several steps at once, each to its own longest text: half the time for small steps.

    Args:
        steps: rows of each, at least one.
    """
    rows = np.concatenate(steps)
    sizes = np.fromiter(map(len, steps), np.int64, len(steps))
    starts = input_ids.offsets.take(rows)
    lengths = input_ids.offsets.take(rows + 1) - starts
    longest = np.maximum(np.maximum.reduceat(lengths, np.cumsum(sizes) - sizes), 1)
    widths = np.repeat(longest, sizes)
    firsts = np.cumsum(widths) - widths  # where each row begins among the cells of all steps
    cells = np.arange(widths.sum())
    real = cells < np.repeat(firsts + lengths, widths)
    # What follows a text is read and then covered: that is cheaper than picking the text out.
    read = input_ids.values.take(cells + np.repeat(starts - firsts, widths), mode="clip")
    ids = torch.from_numpy(np.where(real, read, np.int64(pad_token_id)))
    mask = torch.from_numpy(real.astype(np.int64))
    counts = (sizes * longest).tolist()
    parts = zip(
        ids.split(counts), mask.split(counts), sizes.tolist(), longest.tolist(), strict=True
    )
    return [Texts(one.view(B, L), real.view(B, L)) for one, real, B, L in parts]


def _padded(input_ids: RaggedIds, rows: np.ndarray, *, pad_token_id: int) -> Texts:
    return Texts(*pad(input_ids, rows, pad_token_id=pad_token_id))


def _packed_passes(
    input_ids: RaggedIds,
    rows: np.ndarray,
    lengths: np.ndarray,
    layout: Layout,
    pad_token_id: int,
) -> Iterator[Pass]:
    in_rows = layout.kind == "rows"
    if in_rows:
        placement = fill_rows(lengths, width=layout.width)
        rows_per_pass = layout.pass_tokens // layout.width
    else:
        placement, rows_per_pass = fill_stream(lengths, width=layout.pass_tokens), 1
    pass_of_text = placement.row // rows_per_pass
    order = np.argsort(pass_of_text, kind="stable")
    counts = np.bincount(pass_of_text)
    # A power of two, so that calls with a few texts more or less share compiled code.
    max_texts = layout.max_texts or 1 << (int(counts.max()) - 1).bit_length()
    for stop, count in zip(np.cumsum(counts), counts, strict=True):
        members = order[stop - count : stop]
        inside = Placement(placement.row[members] % rows_per_pass, placement.column[members])
        used = (
            (int(inside.row.max()) + 1) * layout.width
            if in_rows
            else int(inside.column[-1] + lengths[members[-1]])
        )
        size = min(round_up(used, layout.granule), layout.pass_tokens)
        if layout.is_exact:
            num_segments = len(members)
        else:
            num_segments = max_texts + (1 if in_rows else filler_segments(size, layout.longest))
        packed = lay_out(
            input_ids.values,
            input_ids.offsets[rows[members]],
            lengths[members],
            inside,
            shape=(size // layout.width, layout.width) if in_rows else (1, size),
            pad_token_id=pad_token_id,
            num_segments=num_segments,
            stream_longest=None if in_rows else layout.longest,
        )
        starts = packed.segment_starts
        blocks = None
        if layout.kind == "flex":
            assert starts is not None
            blocks = torch.from_numpy(block_bounds(starts, size=size, block_size=layout.width))
        packing = Packing(
            kernel=cast(PackedKernel, layout.kind),
            position_ids_RW=torch.from_numpy(packed.position_ids),
            segment_ids_RW=torch.from_numpy(packed.segment_ids),
            first_tokens_S=torch.from_numpy(packed.first_tokens),
            num_tokens_S=torch.from_numpy(packed.num_tokens),
            longest=layout.longest,
            segment_starts=None if starts is None else torch.from_numpy(starts),
            block_bounds=blocks,
        )
        yield Pass(Texts(torch.from_numpy(packed.input_ids), packing=packing), members)
