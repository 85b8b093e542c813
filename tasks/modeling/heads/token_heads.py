"""Encoder + linear head on tokens: the network of tagging and of extractive question answering.

It answers for *units* (words, or characters where a script has no spaces), each read at its first
token, so that two models with different tokenizers answer for the same units:

    text     Barack Obama besuchte Köln
    tokens   <s> Bar ack Obama besucht e Köln </s>
    units         0       1     2        3          read at tokens 1 3 4 6

Units that one token joins are read there, and have one state (`tasks.modeling.heads.joined_units`).

Saved with the files of a classifier (`tasks.modeling.heads.classifier`); head.json's `problem`
tells them apart.

References: Devlin et al. 2019, arXiv:1810.04805, section 5.3 (first sub-token), 4.2 (spans).
Shapes: B batch, L length, D width, C classes, U units, R rows, W row width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.modeling.heads.classifier import EncoderWithHead
from tasks.modeling.texts import Texts


class EncoderTokenClassifier(EncoderWithHead):
    """Logits of units from token ids. Nothing is pooled: `pooling` has no effect."""

    def forward(self, texts: Texts | Tensor, attention_mask_BL: Tensor | None = None) -> Tensor:
        """Logits of the units that `texts.read_out_U` points to, or of every token without it.

        Args:
            texts: in any layout; or (B, L) int64 ids, then with their mask.
            attention_mask_BL: int64, 1 for real tokens.
        Returns: float, (U, C); (B, L, C) without `read_out_U`, (R, W, C) if packed.
        """
        if isinstance(texts, Tensor):
            texts = Texts(texts, attention_mask_BL)
        return self.answers(self.hidden_states(texts), texts)

    def answers(self, states: Tensor, texts: Texts) -> Tensor:
        """Logits of the units that are read out: (U, C), or of every token."""
        if texts.read_out_U is not None:
            states = torch.index_select(states.flatten(0, 1), 0, texts.read_out_U)
        return self.head(self.dropout(states))
