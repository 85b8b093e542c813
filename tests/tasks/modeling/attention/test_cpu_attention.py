"""Attention of a stream of texts on a CPU, against each text's own in float64."""

from __future__ import annotations

import pytest
import torch

from tasks.modeling.attention.cpu_attention import SideBySide, is_faster_written_out
from tasks.modeling.attention.packed_attention import packed_attention
from tasks.modeling.backbones.dropout import dropout

LENGTHS = (3, 1, 5, 2)
HEADS, HEAD_SIZE = 4, 6


def starts(*, fillers: int = 0) -> torch.Tensor:
    """Of each text, of `fillers` segments without a token, and the end."""
    ends = torch.tensor(LENGTHS).cumsum(0)
    rest = ends[-1].repeat(fillers)
    return torch.cat([torch.zeros(1, dtype=torch.int64), ends, rest]).to(torch.int32)


def stream(num_key_heads: int = HEADS):
    """Queries, keys and values, (1, H, N, D), as views of (1, N, H * D), which models make."""
    torch.manual_seed(0)
    return [
        torch.randn(1, sum(LENGTHS), heads, HEAD_SIZE).transpose(1, 2).requires_grad_()
        for heads in (HEADS, num_key_heads, num_key_heads)
    ]


def attended(parts, *, probability=0.0, scaling=None, window=None, fillers=0):
    """What the registered function gives."""
    segment_starts = starts(fillers=fillers)
    found, _ = packed_attention(
        torch.nn.Module(), *parts, None, probability, scaling, window,
        max_length_q=max(LENGTHS), cu_seq_lens_q=segment_starts,
        side_by_side=SideBySide(segment_starts),
    )  # fmt: skip
    return found


def by_hand(parts, *, scaling=None, window=None, factors=None):
    """(1, N, H, D) float64, text by text and head by head.

    Args:
        factors: (B, H, L, L) that weights are multiplied by.
    """
    query, key, value = (part[0].double() for part in parts)
    shared_by = len(query) // len(key)
    results = []
    for text, (start, length) in enumerate(zip(starts().tolist(), LENGTHS, strict=False)):
        span = slice(start, start + length)
        columns = torch.arange(length)
        heads = []
        for head in range(len(query)):
            theirs = head // shared_by
            q, k, v = query[head, span], key[theirs, span], value[theirs, span]
            scores = q @ k.T * (HEAD_SIZE**-0.5 if scaling is None else scaling)
            if window is not None:
                scores[(columns[:, None] - columns).abs() >= window] = -torch.inf
            weights = scores.exp() / scores.exp().sum(1, keepdim=True)
            if factors is not None:
                weights = weights * factors[text, head, :length, :length]
            heads.append(weights @ v)
        results.append(torch.stack(heads, 1))
    return torch.cat(results)[None]


@pytest.mark.parametrize("fillers", [0, 3])
@pytest.mark.parametrize("num_key_heads", [HEADS, 2])
@pytest.mark.parametrize(("scaling", "window"), [(None, None), (0.3, None), (None, 2)])
def test_each_text_of_a_stream_attends_to_itself_alone(num_key_heads, scaling, window, fillers):
    """A text that sees its neighbour learns what it will never be asked beside it."""
    parts = stream(num_key_heads)
    found = attended(parts, scaling=scaling, window=window, fillers=fillers)
    expected = by_hand(parts, scaling=scaling, window=window)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("num_key_heads", [HEADS, 2])
@pytest.mark.parametrize("probability", [0.0, 0.4])
def test_the_gradient_of_a_stream_is_that_of_its_texts(probability, num_key_heads, window):
    """Cells without a token that hand back a gradient train on texts that are not there."""
    parts = stream(num_key_heads)
    weights = torch.randn(1, sum(LENGTHS), HEADS, HEAD_SIZE)
    torch.manual_seed(5)
    found = attended(parts, probability=probability, window=window)
    gradients = torch.autograd.grad((found * weights).sum(), parts)
    torch.manual_seed(5)
    shape = (len(LENGTHS), HEADS, max(LENGTHS), max(LENGTHS))
    factors = dropout(torch.ones(shape), probability).double()
    expected = by_hand(parts, factors=factors, window=window)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), parts)
    for gradient, own in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, own, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("text", range(len(LENGTHS)))
def test_what_a_neighbour_holds_reaches_nobody(text):
    """One text of overflown states would make a NaN of every text in its step."""
    parts = stream()
    expected = attended(parts)
    start, stop = starts()[text : text + 2].tolist()
    with torch.no_grad():
        for part in parts:
            part[:, :, start:stop] = torch.nan
    found = attended(parts)
    assert found[:, start:stop].isnan().all()
    others = [*range(start), *range(stop, sum(LENGTHS))]
    assert torch.equal(found[:, others], expected[:, others])


@pytest.mark.parametrize("num_key_heads", [HEADS, 2])
def test_a_stream_in_bf16_is_attended_to_as_in_float64(num_key_heads):
    """Short texts in bf16 go another way: the teacher's every signal would be off."""
    parts = [part.detach().bfloat16() for part in stream(num_key_heads)]
    with torch.no_grad():
        found = attended(parts)
    torch.testing.assert_close(found.double(), by_hand(parts), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("length", [5, 300])
@pytest.mark.parametrize("gradient", [False, True])
def test_padded_texts_in_bf16_are_attended_to_as_in_float64(length, gradient):
    """A mask or a scale that only one of the two ways knows; or weights kept for no gradient."""
    torch.manual_seed(0)
    # As an encoder makes them: heads are strided views.
    query, key, value = (torch.randn(3, length, 2, 8).bfloat16().transpose(1, 2) for _ in range(3))
    seen = torch.arange(length) < torch.tensor([length, 2, 4])[:, None]
    with torch.set_grad_enabled(gradient):
        found, _ = packed_attention(
            torch.nn.Module(), query, key, value, seen[:, None, None].expand(3, 1, length, length)
        )
        assert is_faster_written_out(query) == (length == 5 and not gradient)
    assert not is_faster_written_out(query.float())
    scores = query.double() @ key.double().transpose(2, 3) / 8**0.5
    weights = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1)
    expected = (weights @ value.double()).transpose(1, 2)
    torch.testing.assert_close(found.double(), expected, rtol=0.02, atol=0.02)
