"""How much each loss term pulls at what all of them read.

The share of a term is that of the L2 norm of its weighted gradient in the sum of all terms' norms;
terms that pull against one another both count. An objective says where its terms meet: in the
logits, in the text vectors below an adversary, or in the weights if layers are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from tasks.training.batches import Step


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


def shares_of(pulls: Mapping[str, Tensor], at: Tensor) -> dict[str, Tensor]:
    """`share_<name>` of each weighted term, together 1; all 0 without a gradient.

    Args:
        pulls: scalars by name, computed from `at`.
        at: the leaf where they meet.
    """
    norms: dict[str, Tensor] = {}
    for name, value in pulls.items():
        (gradient,) = torch.autograd.grad(value, at, retain_graph=True)
        norms[name] = gradient.float().norm()
    return shares_of_norms(norms)


def shares_of_norms(norms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`share_<name>` of each term by the norm of its weighted gradient; all 0 if all norms are."""
    total = torch.stack(list(norms.values())).sum().clamp(min=1e-30)
    return {f"share_{name}": norm / total for name, norm in norms.items()}
