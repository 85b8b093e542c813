"""An objective whose terms are one compiled function: for networks that are compiled themselves.

Uncompiled, the losses of a step are some thirty small kernels (log-softmaxes, an exponential,
differences, sums, and the same backward), each of which reads and writes all logits. Here they are
a few. What differs from step to step goes in as a tensor, for each new number would be compiled
anew; so temperatures that follow a schedule stay uncompiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from tasks.training.objectives.config import LossTerm, SoftenedTerm
from tasks.training.objectives.objective import Objective, StepObjective
from tasks.training.optimization.schedules import Schedule


def fused(objective: StepObjective) -> StepObjective:
    """`objective` with its terms compiled; itself where that would change from step to step, or
    where it does more than to add up terms."""
    if type(objective) is not Objective:
        return objective
    softened = [term for term in objective.loss_terms if isinstance(term, SoftenedTerm)]
    if any(isinstance(term.temperature, Schedule) for term in softened):
        return objective
    return FusedObjective(
        **{part.name: getattr(objective, part.name) for part in fields(objective)}
    )


@dataclass(frozen=True)
class FusedObjective(Objective):
    """The terms of `Objective` and their gradients, but for rounding.

    All terms share one backward pass: `gradient_shares` needs `Objective` itself.
    """

    def _evaluated(
        self,
        logits_BC: Tensor,
        labels_B: Tensor,
        teacher_logits_BC: Tensor | None,
        num_examples: int,
        num_labelled: int,
        step: int,
    ) -> Iterator[tuple[LossTerm, float, Tensor]]:
        counts = {"hard": num_labelled}
        normalizers = [
            # Where nothing is labelled the sum is 0. Filled on the device, not copied there.
            torch.full((), max(1, counts.get(term.kind, num_examples)), device=logits_BC.device)
            for term in self.loss_terms
        ]
        values = self._compiled(logits_BC, labels_B, teacher_logits_BC, normalizers)
        for term, value in zip(self.loss_terms, values, strict=True):
            yield term, self._at(term.weight, step), value

    @cached_property
    def _compiled(self) -> Callable[..., list[Tensor]]:
        # Bound here: code that reads a recipe's fields cannot be compiled.
        losses = [self.loss_of(term) for term in self.loss_terms]
        constants = [
            {"temperature": term.temperature} if isinstance(term, SoftenedTerm) else {}
            for term in self.loss_terms
        ]

        def terms(
            logits_BC: Tensor,
            labels_B: Tensor,
            teacher_logits_BC: Tensor | None,
            normalizers: list[Tensor],
        ) -> list[Tensor]:
            return [
                loss(logits_BC, labels_B, teacher_logits_BC, normalizer=normalizer, **constant)
                for loss, normalizer, constant in zip(losses, normalizers, constants, strict=True)
            ]

        # A size that changes, the number of answers, becomes a symbol; the classes stay a number.
        return torch.compile(terms)
