"""Hidden states to one vector a text, padded or packed.

Shapes: B batch, L length, D width, R rows, W row width, S segments (texts, then filler).
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.modeling.config import Pooling
from tasks.modeling.texts import Packing, Texts


def mean_pool(hidden_states_BLD: Tensor, attention_mask_BL: Tensor) -> Tensor:
    """Mean over the real tokens of each text: (B, L, D), (B, L) → (B, D). Padding never counts."""
    mask_BL1 = attention_mask_BL.unsqueeze(-1).to(hidden_states_BLD.dtype)
    return (hidden_states_BLD * mask_BL1).sum(1) / mask_BL1.sum(1).clamp(min=1)


def cls_pool(hidden_states_BLD: Tensor, attention_mask_BL: Tensor) -> Tensor:
    """The first token's state: (B, L, D) → (B, D)."""
    del attention_mask_BL
    return hidden_states_BLD[:, 0]


def packed_mean_pool(hidden_states_RWD: Tensor, packing: Packing) -> Tensor:
    """Mean over the tokens of each segment: (R, W, D) → (S, D) float32, summed in float32."""
    hidden_states_ND = hidden_states_RWD.flatten(0, 1).float()
    sums_SD = torch.zeros(
        (packing.num_tokens_S.shape[0], hidden_states_ND.shape[1]), device=hidden_states_ND.device
    ).index_add(0, packing.segment_ids_RW.flatten(), hidden_states_ND)
    return sums_SD / packing.num_tokens_S.unsqueeze(1)


def packed_cls_pool(hidden_states_RWD: Tensor, packing: Packing) -> Tensor:
    """The first token's state of each segment: (R, W, D) → (S, D)."""
    return hidden_states_RWD.flatten(0, 1).index_select(0, packing.first_tokens_S)


_POOLINGS = {"mean": mean_pool, "cls": cls_pool}
_PACKED_POOLINGS = {"mean": packed_mean_pool, "cls": packed_cls_pool}


def text_vectors(pooling: Pooling, hidden_states: Tensor, texts: Texts) -> Tensor:
    """One vector a text, of states in the layout of `texts`: (B, D), or (S, D) if packed."""
    if texts.packing is not None:
        return _PACKED_POOLINGS[pooling](hidden_states, texts.packing)
    assert texts.attention_mask_BL is not None, "padded texts need their mask"
    return _POOLINGS[pooling](hidden_states, texts.attention_mask_BL)


__all__ = ["cls_pool", "mean_pool", "packed_cls_pool", "packed_mean_pool", "text_vectors"]
