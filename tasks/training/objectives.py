"""What a step minimises: alpha · T² · KL(teacher || student) + (1 - alpha) · CE(hard labels).

Hard labels are the gold ones, or the teacher's own choice (pseudo-labels), so a student can be
trained without a single label in its language. With alpha = 0 the same function fine-tunes teachers
and trains the baselines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from tasks.training.batches import Batch, Step
from tasks.training.losses import (
    IGNORE_INDEX,
    binary_hard_label_loss,
    binary_soft_target_loss,
    hard_label_loss,
    soft_target_loss,
)
from tasks.training.unit_distributions import as_distributions


class StepObjective(Protocol):
    """What the loop minimises, whatever a batch is and a network gives."""

    def terms(self, forward: Callable[..., Any], batch: Any, step: Step) -> dict[str, Tensor]:
        """Loss terms of one pass of a step: `loss` to differentiate, the others detached.

        Args:
            forward: the network, as the ranks call it; called at most once.
            step: the whole step, by whose counts sums are divided.
        """
        ...

    def to(self, device: torch.device) -> StepObjective:
        """The same with what it holds on `device`; once a run, for a copy a step would wait."""
        ...


@dataclass(frozen=True)
class Objective:
    """The weighted sum of soft-target and hard-label loss.

    Args:
        alpha: weight of the soft targets, in [0, 1].
        temperature: softening of both distributions, > 0.
        is_binary: each class is a decision of its own, where several may be right.
        label_smoothing, class_weights_C: see `hard_label_loss`.
    """

    alpha: float
    temperature: float = 1.0
    is_binary: bool = False
    label_smoothing: float = 0.0
    class_weights_C: Tensor | None = None

    def terms(self, forward: Callable[..., Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """Loss terms of the answers of one pass."""
        logits_AC = forward(batch.texts)[: batch.num_answers]
        labels, teacher = batch.labels_A, batch.teacher_logits_AC
        if batch.text_of_answer_A is not None:
            logits_AC, labels, teacher = as_distributions(
                logits_AC, labels, teacher, batch.text_of_answer_A
            )
        return self(
            logits_AC,
            labels,
            teacher,
            num_examples=step.num_examples,
            num_labelled=step.num_labelled,
        )

    def to(self, device: torch.device) -> Objective:
        """The same with its class weights on `device`."""
        if self.class_weights_C is None:
            return self
        return replace(self, class_weights_C=self.class_weights_C.to(device))

    def __call__(
        self,
        logits_BC: Tensor,
        labels_B: Tensor,
        teacher_logits_BC: Tensor | None,
        *,
        num_examples: int,
        num_labelled: int,
    ) -> dict[str, Tensor]:
        """Loss terms of one micro-batch.

        Args:
            logits_BC: student logits.
            labels_B: hard labels, IGNORE_INDEX where there is none.
            teacher_logits_BC: needed if alpha > 0.
            num_examples, num_labelled: of the whole step, not of this micro-batch.
        Returns: `loss` to differentiate, and the unweighted `loss_kd`, `loss_hard` (detached).
        """
        soft: Tensor | None = None
        hard: Tensor | None = None
        if self.alpha > 0:
            assert teacher_logits_BC is not None, "alpha > 0 without teacher logits"
            soft_loss = binary_soft_target_loss if self.is_binary else soft_target_loss
            soft = soft_loss(
                logits_BC, teacher_logits_BC, temperature=self.temperature, normalizer=num_examples
            )
        if self.alpha < 1 and num_labelled:
            hard_loss = binary_hard_label_loss if self.is_binary else hard_label_loss
            hard = hard_loss(
                logits_BC,
                labels_B,
                normalizer=num_labelled,
                label_smoothing=self.label_smoothing,
                class_weights_C=self.class_weights_C,
            )
        if soft is None or hard is None:
            # Joined to the graph, so that a step without a labelled row has a gradient of zero.
            zero = logits_BC.float().sum() * 0.0
            soft, hard = (zero if term is None else term for term in (soft, hard))
        return {
            "loss": self.alpha * soft + (1 - self.alpha) * hard,
            "loss_kd": soft.detach(),
            "loss_hard": hard.detach(),
        }


__all__ = ["IGNORE_INDEX", "Objective", "StepObjective"]
