"""AdamW that touches only the embedding rows of a step.

A step of 32 short texts reads some 400 rows of an embedding; dense AdamW rewrites all of them, with
both moments: for 250,000 rows of 384 that is 2.7 GB of memory traffic a step. Here the gradient of
such an embedding is sparse (`nn.Embedding.sparse`), and only the rows in it are updated.

What is kept and what is approximated, for a row that occurs at step t and last occurred at step s:

    moments      as in dense AdamW: over the t - s - 1 steps between they decay by beta1 and beta2
    step size    as in dense AdamW: bias is corrected by the number of all steps
    left out     what dense AdamW does to a row while it does not occur: coasting on its old
                 momentum, and weight decay

So a row that occurs in every step is trained exactly as by dense AdamW, and a row that never occurs
keeps its pretrained value. (`torch.optim.SparseAdam` decays moments at occurrences only, and has no
weight decay.)

Shapes: U rows of a step, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class RowAdamW(torch.optim.AdamW):
    """AdamW whose sparse gradients update rows, and all others as in `torch.optim.AdamW`.

    The state of an embedding has AdamW's names and shapes, and `last_step` (rows,): the step at
    which each row last occurred, 0 for never.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of everything that has a gradient."""
        assert closure is None, "a step is computed once"
        sparse = [
            (group, weight, weight.grad)
            for group in self.param_groups
            for weight in group["params"]
            if weight.grad is not None and weight.grad.is_sparse
        ]
        for _, weight, _ in sparse:
            weight.grad = None  # hidden from AdamW, which refuses sparse gradients
        super().step()
        for group, weight, gradient in sparse:
            weight.grad = gradient
            _update_rows(weight, gradient.coalesce(), self.state[weight], group)


def _update_rows(
    weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
        state["exp_avg"] = torch.zeros_like(weight)
        state["exp_avg_sq"] = torch.zeros_like(weight)
        # float32 as all of AdamW's state is when it is loaded again; exact up to 16 million steps.
        state["last_step"] = torch.zeros(len(weight), dtype=torch.float32, device=weight.device)
    state["step"] += 1
    # float64, because 1 - 0.999**step has four correct digits in float32; on its device, unread.
    step, (beta1, beta2) = state["step"].double(), group["betas"]
    rows_U, gradient_UD = gradient.indices()[0], gradient.values()
    elapsed_U1 = (step - state["last_step"][rows_U]).unsqueeze(1)
    state["last_step"][rows_U] = state["step"]
    first_UD = state["exp_avg"][rows_U] * (beta1**elapsed_U1).float() + (1 - beta1) * gradient_UD
    second_UD = state["exp_avg_sq"][rows_U] * (beta2**elapsed_U1).float()
    second_UD.addcmul_(gradient_UD, gradient_UD, value=1 - beta2)
    state["exp_avg"][rows_U], state["exp_avg_sq"][rows_U] = first_UD, second_UD
    denominator_UD = (second_UD / (1 - beta2**step)).sqrt_().add_(group["eps"])
    change_UD = first_UD.div_(1 - beta1**step).div_(denominator_UD)
    row_UD = weight[rows_U] * (1 - group["lr"] * group["weight_decay"])
    weight[rows_U] = row_UD.sub_(change_UD, alpha=group["lr"])


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients down to an L2 norm of `max_norm` together; the norm before, a scalar.

    A row that occurs several times in a step counts once, by the sum of its gradients, as it does
    in a dense gradient.
    """
    weights = [weight for weight in parameters if weight.grad is not None]
    if not any(_gradient(weight).is_sparse for weight in weights):
        return nn.utils.clip_grad_norm_(weights, max_norm)
    for weight in weights:
        if _gradient(weight).is_sparse:
            weight.grad = _gradient(weight).coalesce()
    # The values of a coalesced gradient share its memory, so scaling them scales it.
    values = [g.values() if (g := _gradient(weight)).is_sparse else g for weight in weights]
    norm = nn.utils.get_total_norm(values)
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
    for value in values:
        value.mul_(scale)
    return norm


def _gradient(weight: nn.Parameter) -> Tensor:
    assert weight.grad is not None
    return weight.grad
