"""Bi-encoder: one encoder reads the two texts of a pair apart, a linear head compares them.

    ids   [CLS] a … [SEP] [CLS] b … [SEP]      a pair as it is stored, fed and exported
    texts [CLS] a … [SEP]  |  [CLS] b … [SEP]  what the encoder reads
    head  [u, v, |u - v|, u * v]               of the text vectors u and v → C logits

A pair is one row of ids, so everything around the network is that of a classifier; packed pairs are
read as packed texts, two segments each. Compared with a cross-encoder, words of one text never see
those of the other, which costs accuracy where pairs differ in a word; in return a text's vector is
the same in all of its pairs.

References: Reimers & Gurevych 2019, arXiv:1908.10084, section 3 (the shared encoder, |u - v|);
    Conneau et al. 2017, arXiv:1705.02364, section 3.1 (the four features).
Shapes: B pairs, L length, D width, C classes; packed R rows, W row width, N tokens, S segments.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.modeling.config import PairReading, Pooling
from tasks.modeling.heads.classifier import HEAD_INIT_STD, EncoderWithHead
from tasks.modeling.heads.pooling import text_vectors
from tasks.modeling.texts import Packing, Texts


class PairEncoder(EncoderWithHead):
    """Logits of pairs whose texts are encoded apart."""

    pairs: PairReading = "apart"

    def __init__(
        self, backbone: PreTrainedModel, *, num_labels: int, pooling: Pooling, dropout: float
    ) -> None:
        """Put a freshly drawn head for the four features on `backbone`."""
        super().__init__(backbone, num_labels=num_labels, pooling=pooling, dropout=dropout)
        self.head = nn.Linear(4 * backbone.config.hidden_size, num_labels)
        nn.init.normal_(self.head.weight, std=HEAD_INIT_STD)
        nn.init.zeros_(self.head.bias)

    def forward(self, texts: Texts | Tensor, attention_mask_BL: Tensor | None = None) -> Tensor:
        """Logits of each pair, in the order of the pairs.

        Args:
            texts: pairs, in any layout; or (B, L) int64 ids, then with their mask.
            attention_mask_BL: int64, 1 for real tokens, which stand first.
        Returns: float, (B, C); (S, C) if packed, of which row s < B is pair s.
        """
        if isinstance(texts, Tensor):
            texts = Texts(texts, attention_mask_BL)
        if texts.packing is None:
            assert texts.attention_mask_BL is not None, "padded pairs need their mask"
            apart = read_apart(texts.input_ids, texts.attention_mask_BL)
        else:
            apart = replace(texts, packing=packed_apart(texts.input_ids, texts.packing))
        return self.answers(self.hidden_states(apart), apart)

    def answers(self, states: Tensor, texts: Texts) -> Tensor:
        """Logits of pairs from the states of texts laid out by `read_apart` or `packed_apart`.

        Returns: (B, C), or (S, C) of 2 S segments.
        """
        vectors = text_vectors(self.pooling, states, texts)
        if texts.packing is None:
            first, second = vectors.chunk(2)
        else:
            first, second = vectors.unflatten(0, (-1, 2)).unbind(1)
        return self.head(self.dropout(compared(first, second)))


def compared(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """What the head sees of two vectors: [u, v, |u - v|, u * v], (B, 4 D)."""
    apart_BD = (first_BD - second_BD).abs()
    return torch.cat([first_BD, second_BD, apart_BD, first_BD * second_BD], dim=1)


def read_apart(input_ids_BL: Tensor, attention_mask_BL: Tensor) -> Texts:
    """All first texts of pairs, then all second ones: (2 B, L') ids and mask.

    A second text begins where a pair's last token is followed by its first one: at `[SEP] [CLS]`.
    L' is that of the longest text. On a GPU it is L, because asking how long the longest is would
    make the host wait for the device in every pass; the rest is padding there.

        5 1 2 6 5 3 6 .   →   5 1 2 6 …   5 3 6 …     5 = [CLS], 6 = [SEP], . = padding
    """
    length = input_ids_BL.shape[1]
    lengths_B1 = attention_mask_BL.sum(1, keepdim=True)
    places_L = torch.arange(length, device=input_ids_BL.device)
    last_B1 = input_ids_BL.gather(1, (lengths_B1 - 1).clamp(min=0))
    begins_BL = (input_ids_BL[:, :-1] == last_B1) & (input_ids_BL[:, 1:] == input_ids_BL[:, :1])
    begins_BL = begins_BL & (attention_mask_BL[:, 1:] > 0)
    # The first such place; the end, and so an empty second text, if there is none.
    begins_at_BL = torch.where(begins_BL, places_L[1:], lengths_B1)
    split_B1 = torch.cat([begins_at_BL, lengths_B1], dim=1).amin(1, keepdim=True)
    second_BL = input_ids_BL.gather(1, (places_L + split_B1).clamp(max=length - 1))
    # First tokens are never masked: attention over nothing at all is not a number.
    mask_BL = places_L < split_B1.clamp(min=1)
    second_mask_BL = places_L < (lengths_B1 - split_B1).clamp(min=1)
    input_ids = torch.cat([input_ids_BL, second_BL])
    attention_mask = torch.cat([mask_BL, second_mask_BL]).to(attention_mask_BL.dtype)
    if input_ids.is_cuda:
        return Texts(input_ids, attention_mask)
    longest = attention_mask.sum(1).amax()
    return Texts(input_ids[:, :longest], attention_mask[:, :longest])


def packed_apart(input_ids_RW: Tensor, packing: Packing) -> Packing:
    """The same tokens where they are, each text of a pair a segment of its own.

    Segment s becomes 2 s and 2 s + 1. Shapes depend on those of `packing` alone, and nothing is
    asked of the device.

        ids        5 1 2 6 5 3 6 5 4 6 5 6 .        5 = [CLS], 6 = [SEP], . = filler
        segments   0 0 0 0 0 0 0 1 1 1 1 1 2   →    0 0 0 0 1 1 1 2 2 2 3 3 4
        positions  0 1 2 3 4 5 6 0 1 2 3 4 0   →    0 1 2 3 0 1 2 0 1 2 0 1 0
    """
    ids_N, pair_N = input_ids_RW.flatten(), packing.segment_ids_RW.flatten()
    places_N = torch.arange(len(ids_N), device=ids_N.device)
    if packing.segment_starts is None:
        begin_S, end_S = (
            packing.first_tokens_S,
            packing.first_tokens_S + packing.num_tokens_S.long(),
        )
    else:
        begin_S, end_S = packing.segment_starts[:-1].long(), packing.segment_starts[1:].long()
    beyond = len(ids_N)
    first_S = ids_N[begin_S.clamp(max=beyond - 1)]
    last_S = ids_N[(end_S - 1).clamp(min=0)]
    # A second text begins where the pair's last token is followed by its first one.
    is_seam_N = (ids_N == first_S[pair_N]) & (ids_N.roll(1) == last_S[pair_N])
    is_seam_N &= (pair_N.roll(1) == pair_N) & (places_N > begin_S[pair_N])
    # The first such place; beyond all if there is none, as in filler.
    seams_N = torch.where(is_seam_N, places_N, beyond)
    seam_S = torch.full_like(begin_S, beyond).scatter_reduce(0, pair_N, seams_N, "amin")
    is_second_N = places_N >= seam_S[pair_N]
    position_N = packing.position_ids_RW.flatten()
    position_N = torch.where(is_second_N, places_N - seam_S[pair_N], position_N)
    split_S = torch.minimum(seam_S, end_S)
    first_tokens = torch.stack([packing.first_tokens_S, split_S.clamp(max=beyond - 1)], dim=1)
    num_tokens = torch.stack([split_S - begin_S, end_S - split_S], dim=1).clamp(min=1)
    starts = packing.segment_starts
    if starts is not None:
        halves = torch.stack([starts[:-1], split_S.to(starts.dtype)], dim=1).flatten()
        starts = torch.cat([halves, starts[-1:]])
    return replace(
        packing,
        position_ids_RW=position_N.view_as(packing.position_ids_RW),
        segment_ids_RW=(2 * pair_N + is_second_N).view_as(packing.segment_ids_RW),
        first_tokens_S=first_tokens.flatten(),
        num_tokens_S=num_tokens.flatten().to(packing.num_tokens_S.dtype),
        # Blocks that share no text are masked all the same, so bounds of pairs are good for texts.
        segment_starts=starts,
    )
