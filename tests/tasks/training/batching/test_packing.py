"""Packing: no text lost, cut or overlapped, rows nearly full, the same every time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.training.batching.packing import (
    Placement,
    block_bounds,
    fill_rows,
    fill_stream,
    filler_segments,
    lay_out,
)

LENGTHS = st.lists(st.integers(1, 20), min_size=1, max_size=60).map(np.array)


def occupied(lengths, placement, width):
    """How many texts lie on each token of each row, one token at a time."""
    counts = np.zeros((placement.num_rows, width), dtype=int)
    for length, row, column in zip(lengths, placement.row, placement.column, strict=True):
        assert column + length <= width
        for at in range(column, column + length):
            counts[row, at] += 1
    return counts


def first_fit_decreasing(lengths, width):
    """Rows that the textbook's algorithm opens."""
    free = []
    for length in sorted(lengths, reverse=True):
        for row, room in enumerate(free):
            if room >= length:
                free[row] -= length
                break
        else:
            free.append(width - length)
    return len(free)


@given(LENGTHS)
@pytest.mark.parametrize("fill", [fill_rows, fill_stream])
def test_no_text_is_lost_cut_or_overlapped(fill, lengths):
    """Two texts on one token: the later overwrites the earlier, and both are trained as garbage."""
    placement = fill(lengths, width=24)
    counts = occupied(lengths, placement, 24)
    assert counts.max() == 1
    assert counts.sum() == lengths.sum()
    # Filler only after the last text of a row: attention kernels need each text in one piece.
    assert (np.diff(counts, axis=1) <= 0).all()


def test_rows_are_as_full_as_the_textbook_packs_them():
    """Packing that leaves a tenth of each row empty gives that tenth of the speed away."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(24), 0.55, 2400), 5, 128).astype(np.int64)
    placement = fill_rows(lengths, width=128)
    assert placement.num_rows <= first_fit_decreasing(lengths.tolist(), 128) + 1
    assert lengths.sum() / (placement.num_rows * 128) > 0.98
    again = fill_rows(lengths, width=128)
    assert (placement.row == again.row).all()
    assert (placement.column == again.column).all()


@pytest.mark.parametrize("fill", [fill_rows, fill_stream])
@pytest.mark.parametrize("lengths", [[3, 9], [0, 2]])
def test_a_text_that_fits_no_row_is_refused(fill, lengths):
    """Cutting it silently trains on half a text."""
    with pytest.raises(ValueError, match="do not fit rows of 8"):
        fill(np.array(lengths), width=8)


def test_rows_hold_each_texts_tokens_positions_and_number():
    """The worked example: texts [5 6 7], [8 9], [3] in rows of 4."""
    lengths = np.array([3, 2, 1])
    placement = fill_rows(lengths, width=4)
    packed = lay_out(
        np.array([5, 6, 7, 8, 9, 3]), np.array([0, 3, 5]), lengths, placement,
        shape=(2, 4), pad_token_id=0, num_segments=4,
    )  # fmt: skip
    assert packed.input_ids.tolist() == [[5, 6, 7, 3], [8, 9, 0, 0]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 0], [0, 1, 0, 0]]
    assert packed.segment_ids.tolist() == [[0, 0, 0, 2], [1, 1, 3, 3]]
    assert packed.first_tokens.tolist() == [0, 4, 3, 0]
    assert packed.num_tokens.tolist() == [3, 2, 1, 1]
    assert packed.segment_starts is None


@given(LENGTHS, st.integers(0, 50))
def test_segments_of_a_stream_cover_it_without_gap(lengths, filler):
    """What no segment covers, a kernel leaves unwritten: NaN from there reaches every weight."""
    longest, total = int(lengths.max()), int(lengths.sum())
    size = total + filler
    num_segments = len(lengths) + filler_segments(size, longest)
    packed = lay_out(
        np.arange(total), np.cumsum(lengths) - lengths, lengths,
        fill_stream(lengths, width=size), shape=(1, size), pad_token_id=0,
        num_segments=num_segments, stream_longest=longest,
    )  # fmt: skip
    starts = packed.segment_starts
    assert (starts[0], starts[-1], len(starts)) == (0, size, num_segments + 1)
    assert (np.diff(starts) >= 0).all()
    assert np.diff(starts).max() <= longest
    assert np.diff(starts)[: len(lengths)].tolist() == lengths.tolist()
    expected = np.repeat(np.arange(num_segments), np.diff(starts))
    assert (packed.segment_ids[0] == expected).all()


@given(LENGTHS, st.sampled_from([4, 8, 16]))
def test_block_bounds_enclose_every_pair_of_one_text(lengths, block_size):
    """A block left out of the mask is attention that never happens."""
    total = int(lengths.sum())
    size = -(-total // block_size) * block_size
    starts = np.concatenate([[0], np.cumsum(lengths), [size]]).astype(np.int32)
    text = np.repeat(np.arange(len(lengths) + 1), np.diff(starts))
    blocks = size // block_size
    pairs = np.zeros((blocks, blocks), dtype=bool)
    for q, kv in zip(*np.nonzero(text[:, None] == text[None, :]), strict=True):
        pairs[q // block_size, kv // block_size] = True
    first, last = block_bounds(starts, size=size, block_size=block_size)
    for block in range(blocks):
        seen = np.flatnonzero(pairs[block])
        assert (first[block], last[block]) == (seen[0], seen[-1])


def test_the_number_of_rows_of_nothing_is_zero():
    nothing = np.array([], dtype=np.int64)
    assert Placement(nothing, nothing).num_rows == 0
    assert fill_rows(nothing, width=4).num_rows == 0
