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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses import hard_label_loss
from tasks.training.losses.topk import SparseTargets, coarse_loss, coarsened

_CHUNK_LOGITS = 1 << 22
"""Logits of a chunk: 16 MB in float32, and losses hold about four such arrays at a time."""

Terms = Callable[..., Mapping[str, Tensor]]


@dataclass(frozen=True)
class SettledTerm:
    """A loss term over tokens as it is at one step: numbers where a recipe may have schedules.

    Args:
        title: under which it is told, as loss_<title>.
        kind: hard, or one of `losses.topk.COARSE_LOSSES`.
        weight: >= 0; at 0 the term is not computed.
        temperature: of divergences, > 0.
        parameters: that only this kind has.
    """

    title: str
    kind: str
    weight: float
    temperature: float = 1.0
    parameters: Mapping[str, float] = field(default_factory=dict)


def token_terms(
    logits_NV: Tensor,
    labels_N: Tensor,
    ids_NK: Tensor | None = None,
    log_probs_NK: Tensor | None = None,
    tail_N: Tensor | None = None,
    mask_N: Tensor | None = None,
    *,
    terms: Sequence[SettledTerm],
    label_smoothing: float = 0.0,
    num_tokens: float | Tensor,
    num_taught: float | Tensor = 1.0,
) -> dict[str, Tensor]:
    """The weighted sum of loss terms over the tokens in one chunk.

    Args:
        labels_N: int64, IGNORE_INDEX where there is none.
        ids_NK, log_probs_NK, tail_N: a teacher's `SparseTargets`, needed by divergences.
        mask_N: bool, tokens of which the teacher was asked.
        terms: what is added up.
        num_tokens, num_taught: labelled tokens, and tokens with signals, of the whole step.
    Returns: `loss` to differentiate, and each term unweighted as `loss_<title>`, 0 if its weight
        is 0.
    """
    zero = logits_NV.new_zeros((), dtype=torch.float32)
    found = {f"loss_{term.title}": zero for term in terms}
    loss: Tensor | None = None
    for term, value in _evaluated(
        logits_NV, labels_N, ids_NK, log_probs_NK, tail_N, mask_N, terms=terms,
        label_smoothing=label_smoothing, num_tokens=num_tokens, num_taught=num_taught,
    ):  # fmt: skip
        found[f"loss_{term.title}"] = value
        loss = term.weight * value if loss is None else loss + term.weight * value
    # A step whose weights are all 0 has a gradient, of zero.
    return {"loss": logits_NV.float().sum() * 0.0 if loss is None else loss, **found}


def token_pulls(
    logits_NV: Tensor,
    labels_N: Tensor,
    *signals: Tensor | None,
    terms: Sequence[SettledTerm],
    **settings: Any,
) -> dict[str, Tensor]:
    """How much each term pulls at the logits of one chunk, in squares, which chunks add up.

    Args:
        labels_N, signals, settings: as `token_terms` takes them.
    Returns: `pull_<title>`, the squared L2 norm of the term's weighted gradient in the logits, 0
        if its weight is 0; and a `loss` of 0.
    """
    zero = logits_NV.new_zeros((), dtype=torch.float32)
    found = {f"pull_{term.title}": zero for term in terms}
    with torch.enable_grad():
        leaf = logits_NV.detach().requires_grad_()
        for term, value in _evaluated(leaf, labels_N, *signals, terms=terms, **settings):
            # Terms of one temperature share what they start from.
            (gradient,) = torch.autograd.grad(term.weight * value, leaf, retain_graph=True)
            found[f"pull_{term.title}"] = gradient.float().square().sum()
    return {"loss": zero, **found}


def _evaluated(
    logits_NV: Tensor,
    labels_N: Tensor,
    ids_NK: Tensor | None = None,
    log_probs_NK: Tensor | None = None,
    tail_N: Tensor | None = None,
    mask_N: Tensor | None = None,
    *,
    terms: Sequence[SettledTerm],
    label_smoothing: float,
    num_tokens: float | Tensor,
    num_taught: float | Tensor,
) -> Iterator[tuple[SettledTerm, Tensor]]:
    """Each term that has a weight, with its value."""
    # Arrays over the vocabulary are made once a temperature, not once a term.
    coarse: dict[float, tuple[Tensor, Tensor]] = {}
    for term in terms:
        if term.weight == 0:
            continue
        if term.kind == "hard":
            value = hard_label_loss(
                logits_NV, labels_N, normalizer=num_tokens, label_smoothing=label_smoothing
            )
        else:
            assert ids_NK is not None, f"{term.title} without teacher signals"
            assert log_probs_NK is not None
            assert tail_N is not None
            assert mask_N is not None
            if term.temperature not in coarse:
                coarse[term.temperature] = coarsened(
                    logits_NV,
                    SparseTargets(ids_NK, log_probs_NK, tail_N),
                    mask_N,
                    temperature=term.temperature,
                )
            value = coarse_loss(
                term.kind,
                *coarse[term.temperature],
                mask_N,
                temperature=term.temperature,
                normalizer=num_taught,
                **term.parameters,
            )
        yield term, value


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
