"""Attention on a CPU: of texts that lie one after the other, and written out where no kernel is
as fast (bf16) or none drops (dropout).

    stream, (1, N)      5 6 7 8 9 3       linear layers, norms and dropout: no token too many
    side by side        5 6 7             attention alone: each text under the others, gathered
                        8 9 .             head by head into the layout that its products want
                        3 . .
    stream, (1, N)      its results, gathered back

Gathering costs no more than the copies which products of transposed heads need anyway. What a cell
without a token holds is never looked at: its key is masked, its query not gathered back, and the
gradient that reaches it is 0.

Shapes: B texts, L longest of them, N tokens of all, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tasks.modeling.backbones.dropout import dropout

# Tokens of the longest text up to which bf16 attention is written out; see `is_faster_written_out`.
_SHORT_TEXTS = 256


@dataclass(frozen=True)
class _Places:
    """Of rows that are heads of tokens: (N * H) in the stream, (B * H * L) side by side.

    Args:
        cell: int64, (N * H,): where each row of the stream lies side by side.
        source: int64, (B * H * L,): which row of the stream a cell holds, N * H for none.
        readable: the same, with the text's last token where there is none: another text's might
            be NaN, which no mask hides.
    """

    cell: Tensor
    source: Tensor
    readable: Tensor


class SideBySide:
    """How the texts of one stream lie beside one another; worked out once for all layers.

    Args:
        segment_starts: int32, (S + 1,): segment s is tokens [s] to [s + 1]; those of no token at
            the end are left out.
    """

    def __init__(self, segment_starts: Tensor) -> None:
        """Find the texts."""
        starts = segment_starts.long()
        lengths = starts.diff()
        self._starts_B, self._lengths_B = starts[:-1][lengths > 0], lengths[lengths > 0]
        self._places: dict[int, _Places] = {}
        columns_L = torch.arange(int(self._lengths_B.max()), device=starts.device)
        self.seen_BL = columns_L < self._lengths_B[:, None]

    def places(self, num_heads: int) -> _Places:
        """Of rows that are heads of tokens, H of each."""
        if num_heads not in self._places:
            device = self.seen_BL.device
            B, L = self.seen_BL.shape
            columns_L = torch.arange(L, device=device)
            within_BL = torch.minimum(columns_L, self._lengths_B[:, None] - 1)
            tokens_B1L = (self._starts_B[:, None] + within_BL)[:, None]
            readable_BHL = tokens_B1L * num_heads + torch.arange(num_heads, device=device)[:, None]
            none = int(self._lengths_B.sum()) * num_heads
            source_BHL = readable_BHL.masked_fill(~self.seen_BL[:, None], none)
            seen = self.seen_BL[:, None].expand(B, num_heads, L).flatten()
            cells = seen.nonzero().squeeze(1)
            cell = torch.empty_like(cells)
            cell[source_BHL.flatten()[cells]] = cells
            places = _Places(cell, source_BHL.flatten(), readable_BHL.flatten())
            self._places[num_heads] = places
        return self._places[num_heads]

    def mask(self, window: int | None) -> Tensor | None:
        """Which keys a query sees: bool, (B, 1, 1 or L, L); None if all see all.

        Args:
            window: tokens at this distance or further do not see each other.
        """
        L = self.seen_BL.shape[1]
        if window is None or window >= L:
            return None if bool(self.seen_BL.all()) else self.seen_BL[:, None, None]
        columns = torch.arange(L, device=self.seen_BL.device)
        return self.seen_BL[:, None, None] & ((columns[:, None] - columns).abs() < window)


class _Gathered(torch.autograd.Function):
    """Rows of queries, keys and values, side by side."""

    @staticmethod
    def forward(ctx: Any, places: Sequence[_Places], *parts: Tensor) -> tuple[Tensor, ...]:
        ctx.places = places
        pairs = zip(parts, places, strict=True)
        return tuple(rows.index_select(0, own.readable) for rows, own in pairs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(gradients, ctx.places, strict=True)
        return None, *(gradient.index_select(0, own.cell) for gradient, own in pairs)


class _GatheredBack(torch.autograd.Function):
    """Rows side by side in their places in the stream."""

    @staticmethod
    def forward(ctx: Any, cells: Tensor, places: _Places) -> Tensor:
        ctx.places = places
        return cells.index_select(0, places.cell)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        with_none = torch.cat([gradient, gradient.new_zeros(1, gradient.shape[1])])
        return with_none.index_select(0, ctx.places.source), None


def attention_over_stream(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    texts: SideBySide,
    *,
    dropout_probability: float,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Each text's own attention: (1, H, N, D) queries, keys, values → (1, N, H, D).

    Args:
        texts: where the stream's texts lie.
        scaling: of the products, 1/sqrt(D) if None.
        window: tokens at this distance or further do not see each other.
    """
    num_heads = query.shape[1]

    parts = (query, key, value)
    rows = [part[0].transpose(0, 1).reshape(-1, part.shape[3]) for part in parts]
    places = [texts.places(part.shape[1]) for part in parts]
    gathered: Any = _Gathered.apply(places, *rows)
    B, L = texts.seen_BL.shape
    query_BHLD, key_BHLD, value_BHLD = (
        # Several query heads may read one key.
        cells.view(B, -1, L, cells.shape[1]).repeat_interleave(num_heads // part.shape[1], dim=1)
        if part.shape[1] != num_heads
        else cells.view(B, num_heads, L, cells.shape[1])
        for part, cells in zip(parts, gathered, strict=True)
    )
    mask = texts.mask(window)
    if dropout_probability or is_faster_written_out(query_BHLD):
        found = written_out_attention(
            query_BHLD, key_BHLD, value_BHLD, mask, dropout_probability, scaling
        )
    else:
        found = nn.functional.scaled_dot_product_attention(
            query_BHLD, key_BHLD, value_BHLD, attn_mask=mask, scale=scaling
        )
    back: Any = _GatheredBack.apply(found.reshape(-1, found.shape[3]), texts.places(num_heads))
    return back.view(1, -1, num_heads, found.shape[3])


def is_faster_written_out(query: Tensor) -> bool:
    """Whether `written_out_attention` beats SDPA's kernel, given queries (B, H, L, D).

    Of 2,048 tokens, 12 heads of 32, in bf16 on one core, ms by the length of texts (without a
    gradient: SDPA keeps no weights for one, which is worth more than time):

        length         16      32      64      128     256     512
        SDPA           3.2     2.8     4.1     7.4     11.3    21.5
        written out    1.7     1.4     2.0     4.1      7.4    42.5

    In fp32 SDPA is the faster one at every length. The price: products are rounded to bf16 before
    the softmax, which the kernel keeps in fp32. Under autocast, against float64, what is read is
    off by 0.4 % (rms) where products have a standard deviation of 1 and 0.7 % where of 5; SDPA's by
    0.2 % at either. Of a teacher's rounding it is a small part: logits of multilingual-e5-small on
    200 sentences (deviation 1.0) are off from fp32 by 0.0022 (rms), by 0.0021 with SDPA.
    """
    is_short = query.shape[2] <= _SHORT_TEXTS
    return query.dtype is torch.bfloat16 and is_short and not torch.is_grad_enabled()


def written_out_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout_probability: float,
    scaling: float | None,
) -> Tensor:
    """Softmax attention, product by product: (B, H, L, D) queries, keys, values → (B, H, L, D).

    Args:
        mask: bool, False for keys that are not seen, or what is added to the products.
        dropout_probability: of weights, after softmax; cheaper masks than SDPA's (dropout.py).
    """
    scaled = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    # Heads of a model are strided views: a product would copy them transposed, four times slower.
    scores = scaled.contiguous() @ key.contiguous().mT
    if mask is not None:
        if mask.dtype is torch.bool:
            # Finite: a row that sees nothing must not become NaN.
            hidden = torch.finfo(scores.dtype).min
            mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, hidden)
        scores = scores + mask
    # The softmax is in fp32 under autocast, which is more exact and on a CPU faster, too.
    weights = dropout(scores.softmax(-1), dropout_probability)
    return weights.to(value.dtype) @ value.contiguous()
