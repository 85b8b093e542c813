"""Losses of each token that a text is made of, weighted and added up.

The rules of `tasks.training.losses` hold: float32 inside, `temperature**2`, the sum over valid
tokens divided by `normalizer`, the valid tokens of the whole step. A token is valid by its label or
its mask, never by its id: a decoder may start from the padding token. So sums of some tokens add up
to those of all, which is how `vocabulary_chunks` calls what is here.

Shapes: N tokens, V vocabulary, K likeliest tokens kept.

References: Kim & Rush 2016, arXiv:1606.07947 (word-level distillation).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tasks.training.losses import hard_label_loss
from tasks.training.losses.topk import SparseTargets, coarse_loss, coarsened


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
