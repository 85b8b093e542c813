"""Where each text of a step lies in a packed layout, computed on the host with NumPy alone.

    lengths 3 2 1, width 4      fill_rows     row 0: text 0, text 2     row 1: text 1
    lengths 3 2 1, width 8      fill_stream   row 0: text 0, text 1, text 2

Rows are filled best-fit decreasing: the longest text left goes into the fullest row that has room.
That is as full as first-fit decreasing (11/9 of the optimum at worst; 99.7 % full on texts of mean
27 tokens in rows of 128) and can place all texts of one length at once, so 2,400 texts take a few
hundred NumPy calls instead of 2,400 rounds of Python. Everything is deterministic.

References: Johnson 1973 (bin packing); Krell et al. 2021, arXiv:2107.02027 (packing of texts).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Placement:
    """Row and first column of each text, int64, (texts,)."""

    row: np.ndarray
    column: np.ndarray

    @property
    def num_rows(self) -> int:
        """Rows in use."""
        return int(self.row.max(initial=-1)) + 1


@dataclass(frozen=True)
class Packed:
    """The arrays of one pass; see `tasks.modeling.texts.Packing` for their meaning.

    Args:
        input_ids, position_ids, segment_ids: int64, (rows, width).
        first_tokens: int64, (segments,). num_tokens: float32, (segments,).
        segment_starts: int32, (segments + 1,), of a stream.
    """

    input_ids: np.ndarray
    position_ids: np.ndarray
    segment_ids: np.ndarray
    first_tokens: np.ndarray
    num_tokens: np.ndarray
    segment_starts: np.ndarray | None


def fill_rows(lengths: np.ndarray, *, width: int) -> Placement:
    """Place each text in a row of `width` tokens, best-fit decreasing.

    Args:
        lengths: tokens of each text, in [1, width].
    Raises: ValueError if a text is longer than a row.
    """
    _check_fit(lengths, width)
    row, column = np.empty_like(lengths), np.empty_like(lengths)
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order]
    rooms: dict[int, list[np.ndarray]] = {}  # free tokens → rows with just so many
    sizes: list[int] = []  # keys of `rooms`, ascending
    num_rows = start = 0
    while start < len(order):
        length = int(ordered[start])
        stop = int(np.searchsorted(-ordered, -length, side="right"))
        while start < stop:
            at = bisect_left(sizes, length)
            if at == len(sizes):
                opened = -(-(stop - start) // (width // length))
                _add(rooms, sizes, width, np.arange(num_rows, num_rows + opened))
                num_rows += opened
                continue
            free = sizes[at]
            candidates = _take(rooms, sizes, free)
            taken = candidates[: stop - start]
            texts = order[start : start + len(taken)]
            row[texts], column[texts] = taken, width - free
            start += len(taken)
            _add(rooms, sizes, free, candidates[len(taken) :])
            _add(rooms, sizes, free - length, taken)
    return Placement(row, column)


def fill_stream(lengths: np.ndarray, *, width: int) -> Placement:
    """Place texts one after the other in their order; a new row of `width` when one is full.

    Raises: ValueError if a text is longer than a row.
    """
    _check_fit(lengths, width)
    row, column = np.empty_like(lengths), np.empty_like(lengths)
    ends = np.cumsum(lengths)
    number = start = base = 0
    while start < len(lengths):
        stop = int(np.searchsorted(ends, base + width, side="right"))
        row[start:stop] = number
        column[start:stop] = ends[start:stop] - lengths[start:stop] - base
        number, start, base = number + 1, stop, int(ends[stop - 1])
    return Placement(row, column)


def lay_out(
    values: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    placement: Placement,
    *,
    shape: tuple[int, int],
    pad_token_id: int,
    num_segments: int,
    stream_longest: int | None = None,
) -> Packed:
    """The arrays of texts placed in `shape`, filler elsewhere.

    Args:
        values: token ids of all texts. starts, lengths: where each text of the pass lies in them.
        placement: rows counted from 0 in this pass.
        num_segments: at least the texts plus 1, or plus `filler_segments` of a stream; the same
            in each pass.
        stream_longest: set if this is one row filled by `fill_stream`. Its filler is cut to
            segments of this length: a kernel told of a maximum leaves what exceeds it unwritten,
            and garbage there is NaN in a gradient.
    """
    width = shape[1]
    num_texts, size = len(lengths), shape[0] * width
    first = placement.row * width + placement.column
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if num_texts else 0
    within = np.arange(total) - np.repeat(ends - lengths, lengths)
    target = np.repeat(first, lengths) + within
    input_ids = np.full(size, pad_token_id, dtype=np.int64)
    input_ids[target] = values[np.repeat(starts, lengths) + within]
    position_ids = np.zeros(size, dtype=np.int64)
    position_ids[target] = within
    segment_starts = None
    if stream_longest:
        segment_ids = num_texts + (np.arange(size) - total) // stream_longest
        segment_starts = np.full(num_segments + 1, size, dtype=np.int32)
        filler = np.arange(total, size, stream_longest)
        segment_starts[: num_texts + len(filler)] = [*(ends - lengths), *filler]
    else:
        segment_ids = np.full(size, num_texts, dtype=np.int64)
    segment_ids[target] = np.repeat(np.arange(num_texts), lengths)
    first_tokens = np.zeros(num_segments, dtype=np.int64)
    first_tokens[:num_texts] = first
    num_tokens = np.ones(num_segments, dtype=np.float32)
    num_tokens[:num_texts] = lengths
    return Packed(
        input_ids.reshape(shape),
        position_ids.reshape(shape),
        segment_ids.reshape(shape),
        first_tokens,
        num_tokens,
        segment_starts,
    )


def filler_segments(size: int, longest: int) -> int:
    """The most filler segments that a stream of `size` tokens can hold."""
    return -(-size // longest)


def block_bounds(segment_starts: np.ndarray, *, size: int, block_size: int) -> np.ndarray:
    """First and last block of `block_size` tokens that each block of a stream shares a text with.

    Args:
        segment_starts: see `Packed`. size: tokens of the stream, a multiple of `block_size`.
    Returns: int64, (2, blocks).
    """
    edges = np.arange(0, size, block_size)
    heads = np.searchsorted(segment_starts, edges, side="right") - 1
    tails = np.searchsorted(segment_starts, edges + block_size - 1, side="right") - 1
    first = segment_starts[heads].astype(np.int64) // block_size
    last = (segment_starts[tails + 1].astype(np.int64) - 1) // block_size
    return np.stack([first, last])


def _check_fit(lengths: np.ndarray, width: int) -> None:
    if len(lengths) and not 1 <= int(lengths.min()) <= int(lengths.max()) <= width:
        raise ValueError(
            f"texts of {lengths.min()} to {lengths.max()} tokens do not fit rows of {width}"
        )


def _add(rooms: dict[int, list[np.ndarray]], sizes: list[int], free: int, rows: np.ndarray) -> None:
    if len(rows) and free:
        if free not in rooms:
            insort(sizes, free)
        rooms.setdefault(free, []).append(rows)


def _take(rooms: dict[int, list[np.ndarray]], sizes: list[int], free: int) -> np.ndarray:
    sizes.remove(free)
    return np.concatenate(rooms.pop(free))
