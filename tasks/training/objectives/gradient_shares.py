"""How much each loss term pulls at what all of them read.

The share of a term is that of the L2 norm of its weighted gradient in the sum of all terms' norms;
terms that pull against one another both count. An objective says where its terms meet: in the
logits, in the text vectors below an adversary, or in the weights if layers are compared; of several
at the lowest of these, which all of them reach (`companion_objective`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tasks.training.batching.batches import Step


class SharedPull(Protocol):
    """An objective that tells the shares of its terms, those of the task and those beside it."""

    def gradient_shares(self, network: Any, batch: Any, step: Step) -> dict[str, Tensor]:
        """`share_<term>` of one pass, together 1; `network` is in evaluation mode and stays so."""
        ...

    def to(self, device: torch.device) -> SharedPull:
        """The same with what it holds on `device`."""
        ...

    def over(self, total_steps: int) -> SharedPull:
        """The same with its schedules spread over the planned steps."""
        ...


def shares_of(weighted: Mapping[str, Tensor], at: Tensor) -> dict[str, Tensor]:
    """`share_<name>` of each weighted term, together 1; all 0 without a gradient.

    Args:
        weighted: scalars by name, computed from `at`.
        at: the leaf where they meet.
    """
    norms: dict[str, Tensor] = {}
    for name, value in weighted.items():
        (gradient,) = torch.autograd.grad(value, at, retain_graph=True)
        norms[name] = gradient.float().norm()
    return shares_of_norms(norms)


def shares_in_weights(
    weighted: Mapping[str, Tensor], weights: Sequence[nn.Parameter]
) -> dict[str, Tensor]:
    """The same where terms meet in the weights of a network; no gradient is left in them.

    One backward pass a term. A term that reaches none of them, as where they are frozen, has 0.

    Args:
        weights: those that are trained; rows of a sparse gradient count once.
    """
    norms: dict[str, Tensor] = {}
    for name, value in weighted.items():
        gradients = ()
        if value.requires_grad:
            gradients = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        norms[name] = _norm(gradients, value)
    return shares_of_norms(norms)


def shares_of_norms(norms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`share_<name>` of each term by the norm of its weighted gradient; all 0 if all norms are."""
    total = torch.stack(list(norms.values())).sum().clamp(min=1e-30)
    return {f"share_{name}": norm / total for name, norm in norms.items()}


def _norm(gradients: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """L2 norm of all together; rows of a sparse one count once."""
    found = [one.coalesce().values() if one.is_sparse else one for one in gradients
             if one is not None]  # fmt: skip
    if not found:
        return torch.zeros((), device=like.device)
    return torch.stack([one.float().square().sum() for one in found]).sum().sqrt()
