"""Bi-encoder: one encoder reads the two texts of a pair apart, a linear head compares them.

    ids   [CLS] a … [SEP] [CLS] b … [SEP]      a pair as it is stored, fed and exported
    texts [CLS] a … [SEP]  |  [CLS] b … [SEP]  what the encoder reads
    head  [u, v, |u - v|, u * v]               of the text vectors u and v → C logits

A pair is one row of ids, so everything around the network (packing aside) is that of a classifier.
Compared with a cross-encoder, words of one text never see those of the other, which costs accuracy
where pairs differ in a word; in return a text's vector is the same in all of its pairs.

References: Reimers & Gurevych 2019, arXiv:1908.10084, section 3 (the shared encoder, |u - v|);
    Conneau et al. 2017, arXiv:1705.02364, section 3.1 (the four features).
Shapes: B pairs, L length, D width, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.modeling.classifier import HEAD_INIT_STD, EncoderWithHead
from tasks.modeling.config import PairReading, Pooling
from tasks.modeling.pooling import POOLINGS
from tasks.modeling.texts import Texts


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
        # A packed layout would have to place two texts for each row.
        self.can_pack = False

    def forward(self, texts: Texts | Tensor, attention_mask_BL: Tensor | None = None) -> Tensor:
        """Logits of each pair, in the order of the pairs.

        Args:
            texts: padded pairs; or (B, L) int64 ids, then with their mask.
            attention_mask_BL: int64, 1 for real tokens, which stand first.
        Returns: float, (B, C).
        """
        if not isinstance(texts, Tensor):
            texts, attention_mask_BL = texts.input_ids, texts.attention_mask_BL
        assert attention_mask_BL is not None, "pairs are padded, and need their mask"
        apart = read_apart(texts, attention_mask_BL)
        return self.answers(self.hidden_states(apart), apart)

    def answers(self, states: Tensor, texts: Texts) -> Tensor:
        """Logits (B, C) from the states of `read_apart`'s texts: first ones, then second ones."""
        assert texts.attention_mask_BL is not None
        first_BD, second_BD = POOLINGS[self.pooling](states, texts.attention_mask_BL).chunk(2)
        return self.head(self.dropout(compared(first_BD, second_BD)))


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
