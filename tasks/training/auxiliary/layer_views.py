"""What is read out of a network's layers to be compared: text vectors, states, attention.

    text      one vector a text, its layer's states pooled                         (S, D)
    tokens    a layer's states as they are                                         (B, L, D)
    queries, keys, values      all heads' vectors side by side                     (B, L, D)
    scores    products of queries and keys, scaled, before any mask and dropout    (B, H, L, L)

Of one text or many, in one pass of the network. Where tokens are read, texts are padded.

Shapes: B texts, S segments of packed texts (S = B if padded), L length, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor

from tasks.modeling.attention.packed_attention import Attended, Recording
from tasks.modeling.heads.classifier import EncoderClassifier, EncoderWithHead
from tasks.modeling.texts import Texts
from tasks.training.losses.positions import at_least_float32

View = Literal["text", "tokens", "queries", "keys", "values", "scores"]
Wanted = dict[tuple[View, int], None]
"""Views of layers, each once, in order: layer 0 are the embeddings."""
_OF_ATTENTION = ("queries", "keys", "values", "scores")


def read_layers(
    model: EncoderWithHead, texts: Texts, wanted: Collection[tuple[View, int]]
) -> tuple[Tensor, dict[tuple[View, int], Tensor]]:
    """The last states, and each of the `wanted` (view, layer); layer 0 are the embeddings.

    Text vectors are those of a model that pools; attention that of one which `can_pack`.
    """
    recorded = Recording()
    reads_attention = any(view in _OF_ATTENTION for view, _ in wanted)
    states = model.all_hidden_states(texts, recorded if reads_attention else None)
    found: dict[tuple[View, int], Tensor] = {}
    for view, layer in wanted:
        if view == "text":
            assert isinstance(model, EncoderClassifier), "units have no text vector"
            found[view, layer] = model.pool(states[layer], texts)
        elif view == "tokens":
            found[view, layer] = states[layer]
        else:
            found[view, layer] = _of_attention(recorded[layer - 1], view)
    return states[-1], found


def _of_attention(layer: Attended, view: View) -> Tensor:
    if view == "scores":
        # Autocast would take the products back to 16 bits, in the midst of a loss.
        with torch.autocast(layer.query.device.type, enabled=False):
            return at_least_float32(layer.query) @ at_least_float32(layer.key).mT * layer.scaling
    heads_BHLD = {"queries": layer.query, "keys": layer.key, "values": layer.value}[view]
    return heads_BHLD.transpose(1, 2).flatten(2)


def over_heads(scores_BHLL: Tensor, mask_BL: Tensor, *, distributions: bool) -> Tensor:
    """The mean over heads, as one head: of scores, or of the distributions that they lead to.

    Args:
        mask_BL: bool, (texts, tokens): which of them can be looked at.
        distributions: gives logarithms, whose softmax over `mask_BL` is the mean distribution.
    Returns: (B, 1, L, L).
    """
    if not distributions:
        return scores_BHLL.mean(1, keepdim=True)
    unseen = ~mask_BL[:, None, None, :]
    lowest = torch.finfo(scores_BHLL.dtype).min
    log_probs = scores_BHLL.masked_fill(unseen, lowest).log_softmax(-1).masked_fill(unseen, lowest)
    mean = log_probs.logsumexp(1, keepdim=True) - float(torch.tensor(scores_BHLL.shape[1]).log())
    return mean.masked_fill(unseen, 0.0)
