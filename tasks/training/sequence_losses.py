"""Losses of each token that a text is made of, over vocabularies that do not fit memory whole.

Logits of N tokens over V = 50,000 are 200 kB a token, and losses keep several copies of them. Here
the vocabulary is met in chunks of tokens: logits of a chunk are made, the loss and its gradients
taken at once, and the logits are gone before the next chunk. What stays is the gradient of the
states (N, D) and of the output matrix (V, D), as in any training. Nothing is computed twice.

    states (N, D) ─┬─ chunk · matrixᵀ → logits (c, V) → terms ─┐
                   ├─ …                                        ├─ sum;  gradients (N, D), (V, D)
                   └─ chunk                                  ──┘

The rules of `tasks.training.losses` hold: float32 inside, `temperature**2`, the sum over valid
tokens divided by `normalizer`, the valid tokens of the whole step. A token is valid by its label or
its mask, never by its id: a decoder may start from the padding token.

Shapes: N tokens, D width, V vocabulary, K likeliest tokens kept, c tokens of a chunk.

References: Kim & Rush 2016, arXiv:1606.07947 (word-level distillation).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses import hard_label_loss

_CHUNK_LOGITS = 1 << 22
"""Logits of a chunk: 16 MB in float32, and losses hold about four such arrays at a time."""

Terms = Callable[..., Mapping[str, Tensor]]


@dataclass(frozen=True)
class SparseTargets:
    """A teacher's distribution over each token: its likeliest tokens and all others together.

    Args:
        ids_NK: int64.
        log_probs_NK: float32, nats.
        tail_N: float32, log-probability of all tokens not in `ids_NK`; -inf if there are none.
    """

    ids_NK: Tensor
    log_probs_NK: Tensor
    tail_N: Tensor


def sparse_target_loss(
    logits_NV: Tensor,
    targets: SparseTargets,
    mask_N: Tensor,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """KL(teacher || student) over K tokens and the tail, softened, scaled by temperature**2.

    The tail is one more class, so neither side is renormalised over what was kept. At temperature 1
    the value never exceeds the KL over the whole vocabulary. At others the teacher's tail is
    softened as if it were spread evenly, for what lies inside it was not kept; with K = V the loss
    is exact at any temperature.

    Args:
        logits_NV: float, student logits over the teacher's V tokens.
        mask_N: bool, tokens that count.
        temperature: > 0, unitless.
        normalizer: number of tokens that count in the whole step.
    Returns: scalar, nats a token.
    Raises: ValueError if the numbers of tokens differ or the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it divides the logits and must be > 0")
    if not len(logits_NV) == len(targets.ids_NK) == len(mask_N):
        raise ValueError(
            f"logits of {len(logits_NV)} tokens, targets of {len(targets.ids_NK)}, a mask of "
            f"{len(mask_N)}: align them before"
        )
    num_others = logits_NV.shape[1] - targets.ids_NK.shape[1]
    # Selected before any arithmetic: 0 · NaN of a masked place would be a NaN in the gradient.
    mask_N1 = mask_N[:, None]
    ids_NK = targets.ids_NK.where(mask_N1, 0)
    log_probs_NK = targets.log_probs_NK.float().where(mask_N1, 0.0)
    tail_N = targets.tail_N.float().where(mask_N, 0.0)
    softened_NV = logits_NV.float() / temperature
    partition_N1 = softened_NV.logsumexp(-1, keepdim=True)
    student_NK = softened_NV.gather(1, ids_NK) - partition_N1
    teacher_NK = log_probs_NK / temperature
    if num_others > 0:
        others_NV = softened_NV.scatter(1, ids_NK, -torch.inf)
        student_tail_N1 = others_NV.logsumexp(-1, keepdim=True) - partition_N1
        spread = math.log(num_others)
        teacher_tail_N = spread + (tail_N - spread) / temperature
        student_NK = torch.cat([student_NK, student_tail_N1], 1)
        teacher_NK = torch.cat([teacher_NK, teacher_tail_N[:, None]], 1)
    teacher_NK = teacher_NK.log_softmax(-1)
    divergence_N = F.kl_div(student_NK, teacher_NK, reduction="none", log_target=True).sum(-1)
    return divergence_N[mask_N].sum() * temperature**2 / normalizer


def token_terms(
    logits_NV: Tensor,
    labels_N: Tensor,
    ids_NK: Tensor | None = None,
    log_probs_NK: Tensor | None = None,
    tail_N: Tensor | None = None,
    mask_N: Tensor | None = None,
    *,
    alpha: float,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    num_tokens: float | Tensor,
    num_taught: float | Tensor = 1.0,
) -> dict[str, Tensor]:
    """alpha · T² · KL(teacher || student) + (1 - alpha) · CE of the tokens in one chunk.

    Args:
        labels_N: int64, IGNORE_INDEX where there is none.
        ids_NK, log_probs_NK, tail_N: a teacher's `SparseTargets`, needed if alpha > 0.
        mask_N: bool, tokens of which the teacher was asked.
        num_tokens, num_taught: labelled tokens, and tokens with signals, of the whole step.
    Returns: `loss` to differentiate, and the unweighted `loss_kd`, `loss_hard`.
    """
    zero = logits_NV.new_zeros((), dtype=torch.float32)
    soft, hard = zero, zero
    if alpha > 0:
        assert ids_NK is not None, "alpha > 0 without teacher signals"
        assert log_probs_NK is not None
        assert tail_N is not None
        assert mask_N is not None
        soft = sparse_target_loss(
            logits_NV,
            SparseTargets(ids_NK, log_probs_NK, tail_N),
            mask_N,
            temperature=temperature,
            normalizer=num_taught,
        )
    if alpha < 1:
        hard = hard_label_loss(
            logits_NV, labels_N, normalizer=num_tokens, label_smoothing=label_smoothing
        )
    return {"loss": alpha * soft + (1 - alpha) * hard, "loss_kd": soft, "loss_hard": hard}


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
        # One empty chunk if there is no token at all, so that every term has a value.
        for start in range(0, max(1, len(states_ND)), chunk):
            part = slice(start, start + chunk)
            with torch.set_grad_enabled(bool(wanted)):
                leaves = [
                    None if value is None else value.detach().requires_grad_(place in wanted)
                    for place, value in enumerate((states_ND[part], matrix_VD, bias_V))
                ]
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
