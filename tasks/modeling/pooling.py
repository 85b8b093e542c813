"""Hidden states to one vector a text.

Shapes: B batch, L length, D width.
"""

from __future__ import annotations

from torch import Tensor


def mean_pool(hidden_states_BLD: Tensor, attention_mask_BL: Tensor) -> Tensor:
    """Mean over the real tokens of each text: (B, L, D), (B, L) → (B, D). Padding never counts."""
    mask_BL1 = attention_mask_BL.unsqueeze(-1).to(hidden_states_BLD.dtype)
    return (hidden_states_BLD * mask_BL1).sum(1) / mask_BL1.sum(1).clamp(min=1)


def cls_pool(hidden_states_BLD: Tensor, attention_mask_BL: Tensor) -> Tensor:
    """The first token's state: (B, L, D) → (B, D)."""
    del attention_mask_BL
    return hidden_states_BLD[:, 0]


POOLINGS = {"mean": mean_pool, "cls": cls_pool}

__all__ = ["POOLINGS", "cls_pool", "mean_pool"]
