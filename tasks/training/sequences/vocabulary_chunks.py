"""Losses over vocabularies that do not fit memory whole.

Logits of N tokens over V = 50,000 are 200 kB a token, and losses keep several copies of them. Here
the vocabulary is met in chunks of tokens: logits of a chunk are made, the loss and its gradients
taken at once, and the logits are gone before the next chunk. What stays is the gradient of the
states (N, D) and of the output matrix (V, D), as in any training. Nothing is computed twice.

    states (N, D) ─┬─ chunk · matrixᵀ → logits (c, V) → terms ─┐
                   ├─ …                                        ├─ sum;  gradients (N, D), (V, D)
                   └─ chunk                                  ──┘

Terms are sums over tokens, those of `sequence_losses` or any others.

Shapes: N tokens, D width, V vocabulary, c tokens of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK_LOGITS = 1 << 22
"""Logits of a chunk: 16 MB in float32, and losses hold about four such arrays at a time."""

Terms = Callable[..., Mapping[str, Tensor]]


def over_vocabulary(
    terms: Terms,
    states_ND: Tensor,
    matrix_VD: Tensor,
    bias_V: Tensor | None,
    per_token: Sequence[Tensor | None],
    *,
    chunk_tokens: int | None = None,
) -> dict[str, Tensor]:
    """Sums of `terms` over chunks of tokens; `loss` can be differentiated, the others are detached.

    Args:
        terms: (logits_cV, *chunks of per_token) → named scalars, `loss` among them; each a sum over
            tokens, so that chunks add up.
        states_ND: decoder states of the tokens that count.
        matrix_VD, bias_V: output projection.
        per_token: tensors whose first dimension is N, cut as the states are; None stays None.
        chunk_tokens: tokens a chunk, for tests; as many as keep a chunk small if not given.
    """
    chunk = chunk_tokens or max(1, _CHUNK_LOGITS // len(matrix_VD))
    if not torch.is_grad_enabled():
        # The function below sees only that a weight is trained, and would take its gradient.
        matrix_VD = matrix_VD.detach()
        bias_V = None if bias_V is None else bias_V.detach()
    names: list[str] = []
    loss, others = _OverVocabulary.apply(
        states_ND, matrix_VD, bias_V, terms, tuple(per_token), chunk, names
    )
    return {"loss": loss, **dict(zip(names, others.unbind(), strict=True))}


class _OverVocabulary(torch.autograd.Function):
    """Gradients are taken chunk by chunk in the forward pass; the backward pass scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        states_ND: Tensor,
        matrix_VD: Tensor,
        bias_V: Tensor | None,
        terms: Terms,
        per_token: tuple[Tensor | None, ...],
        chunk: int,
        names: list[str],
    ) -> tuple[Tensor, Tensor]:
        inputs = [states_ND, matrix_VD, bias_V]
        wanted = [place for place in range(3) if ctx.needs_input_grad[place]]
        gradients = {place: torch.zeros_like(inputs[place]) for place in wanted}
        sums: dict[str, Tensor] = {}
        # One leaf for all chunks: autocast keeps a 16-bit copy of each leaf that it meets until its
        # outermost context ends, and copies of a matrix a chunk are gigabytes.
        matrix, bias = (
            None if value is None else value.detach().requires_grad_(place in wanted)
            for place, value in enumerate(inputs[1:], start=1)
        )
        # One empty chunk if there is no token at all, so that every term has a value.
        for start in range(0, max(1, len(states_ND)), chunk):
            part = slice(start, start + chunk)
            with torch.set_grad_enabled(bool(wanted)):
                states_cD = states_ND[part].detach().requires_grad_(0 in wanted)
                leaves = [states_cD, matrix, bias]
                logits_cV = F.linear(*leaves)  # pyright: ignore[reportArgumentType]
                found = terms(
                    logits_cV, *(None if value is None else value[part] for value in per_token)
                )
                if wanted:
                    leaving: Any = [leaves[place] for place in wanted]
                    parts = torch.autograd.grad(found["loss"], leaving, allow_unused=True)
                    for place, gradient in zip(wanted, parts, strict=True):
                        if gradient is None:
                            continue
                        if place == 0:
                            gradients[place][part] = gradient
                        else:
                            gradients[place] += gradient
            for name, value in found.items():
                detached = value.detach().float()
                sums[name] = sums[name] + detached if name in sums else detached
        ctx.save_for_backward(*gradients.values())
        ctx.wanted = wanted
        names.extend(name for name in sums if name != "loss")
        others = torch.stack([sums[name] for name in names]) if names else sums["loss"].new_empty(0)
        ctx.mark_non_differentiable(others)
        return sums["loss"], others

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        found: list[Tensor | None] = [None] * 7
        for place, gradient in zip(ctx.wanted, ctx.saved_tensors, strict=True):
            found[place] = gradient * gradients[0]
        return tuple(found)
