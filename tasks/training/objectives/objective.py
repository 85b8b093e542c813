"""What a step minimises: the sum of weighted loss terms, each at its schedule's weight.

Hard labels are the gold ones, or the teacher's own choice (pseudo-labels), so a student can be
trained without a single label in its language. With the hard term alone the same function
fine-tunes teachers and trains the baselines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from tasks.training.batching.batches import Step
from tasks.training.batching.examples import Batch
from tasks.training.losses import (
    IGNORE_INDEX,
    binary_hard_label_loss,
    binary_soft_target_loss,
    hard_label_loss,
    soft_target_loss,
)
from tasks.training.losses.correlations import dist_loss
from tasks.training.losses.divergences import (
    jsd_loss,
    reverse_kl_loss,
    skew_kl_loss,
    skew_reverse_kl_loss,
    soft_cross_entropy_loss,
    total_variation_loss,
)
from tasks.training.losses.embeddings import contrastive_loss, embedding_distance_loss
from tasks.training.losses.logits import decoupled_loss, logit_mse_loss, standardised_logit_loss
from tasks.training.objectives.config import LossTerm, SoftenedTerm
from tasks.training.objectives.gradient_shares import shares_of
from tasks.training.objectives.unit_distributions import as_distributions
from tasks.training.optimization.schedules import value_at

_SOFT_LOSSES: dict[str, Callable[..., Tensor]] = {
    "kl": soft_target_loss,
    "reverse_kl": reverse_kl_loss,
    "jsd": jsd_loss,
    "skew_kl": skew_kl_loss,
    "skew_reverse_kl": skew_reverse_kl_loss,
    "total_variation": total_variation_loss,
    "soft_cross_entropy": soft_cross_entropy_loss,
    "logit_mse": logit_mse_loss,
    "standardised": standardised_logit_loss,
    "decoupled": decoupled_loss,
    "dist": dist_loss,
    "embedding_mse": embedding_distance_loss,
    "embedding_contrast": contrastive_loss,
}
_BINARY_SOFT_LOSSES: dict[str, Callable[..., Tensor]] = {
    "kl": binary_soft_target_loss,
    "logit_mse": logit_mse_loss,
}


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

    def over(self, total_steps: int) -> StepObjective:
        """The same with its schedules, if it has any, spread over the planned steps."""
        ...

    def settings(self, step: int) -> dict[str, float]:
        """What it is set to at a step, for the history: weights, temperatures."""
        ...


@dataclass(frozen=True)
class Objective:
    """The weighted sum of loss terms.

    Args:
        loss_terms: what is added up; see `objective_config`.
        is_binary: each class is a decision of its own, where several may be right.
        label_smoothing, class_weights_C: of the hard term; see `hard_label_loss` and
            `binary_hard_label_loss`.
        total_steps: planned for the training: what schedules run over.
    Raises: ValueError if a term compares classes that exclude one another, and `is_binary`.
    """

    loss_terms: tuple[LossTerm, ...]
    is_binary: bool = False
    label_smoothing: float = 0.0
    class_weights_C: Tensor | None = None
    total_steps: int = 1

    def __post_init__(self) -> None:
        """Refuse terms that make no sense for yes/no decisions."""
        known = {"hard", *(_BINARY_SOFT_LOSSES if self.is_binary else _SOFT_LOSSES)}
        if unfit := [term.kind for term in self.loss_terms if term.kind not in known]:
            raise ValueError(
                f"{', '.join(unfit)} compares classes of which one is right, but here several may "
                f"be: use terms of kind {', '.join(sorted(known))}"
            )

    def terms(self, forward: Callable[..., Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """Loss terms of the answers of one pass."""
        return self(
            *compared(forward(batch.texts), batch),
            num_examples=step.num_examples,
            num_labelled=step.num_labelled,
            step=step.number,
        )

    def weighted(self, logits_AC: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Each term of one pass by its title, times its weight: what is added up."""
        evaluated = self._evaluated(
            *compared(logits_AC, batch), step.num_examples, step.num_labelled, step.number
        )
        return {term.title: weight * value for term, weight, value in evaluated}

    def to(self, device: torch.device) -> Objective:
        """The same with its class weights on `device`."""
        if self.class_weights_C is None:
            return self
        return replace(self, class_weights_C=self.class_weights_C.to(device))

    def over(self, total_steps: int) -> Objective:
        """The same with its schedules spread over the planned steps."""
        return replace(self, total_steps=total_steps)

    def __call__(
        self,
        logits_BC: Tensor,
        labels_B: Tensor,
        teacher_logits_BC: Tensor | None,
        *,
        num_examples: int,
        num_labelled: int,
        step: int = 0,
    ) -> dict[str, Tensor]:
        """Loss terms of one micro-batch.

        Args:
            logits_BC: student logits.
            labels_B: hard labels, IGNORE_INDEX where there is none; (B, C) if `is_binary`.
            teacher_logits_BC: needed if a term compares logits.
            num_examples, num_labelled: of the whole step, not of this micro-batch.
            step: number of the step, from 0; schedules read it.
        Returns: `loss` to differentiate, and each term unweighted as `loss_<name>` (detached).
        """
        total: Tensor | float = 0.0
        found: dict[str, Tensor] = {}
        for term, weight, value in self._evaluated(
            logits_BC, labels_B, teacher_logits_BC, num_examples, num_labelled, step
        ):
            total = total + weight * value
            found[f"loss_{term.title}"] = value.detach()
        assert isinstance(total, Tensor), "an objective without terms"
        return {"loss": total, **found}

    def settings(self, step: int) -> dict[str, float]:
        """`weight_<name>` of each term at a step, and `temperature_<name>` where it has one."""
        found: dict[str, float] = {}
        for term in self.loss_terms:
            found[f"weight_{term.title}"] = self._at(term.weight, step)
            if isinstance(term, SoftenedTerm):
                found[f"temperature_{term.title}"] = self._at(term.temperature, step)
        return found

    def gradient_shares(
        self,
        logits_BC: Tensor,
        labels_B: Tensor,
        teacher_logits_BC: Tensor | None,
        *,
        num_examples: int,
        num_labelled: int,
        step: int = 0,
    ) -> dict[str, Tensor]:
        """How much each term pulls at the logits: `share_<name>`, together 1.

        See `gradient_shares`. No network is run backward. All 0 without a gradient.
        """
        with torch.enable_grad():
            leaf = logits_BC.detach().requires_grad_()
            evaluated = self._evaluated(
                leaf, labels_B, teacher_logits_BC, num_examples, num_labelled, step
            )
            weighted = {term.title: weight * value for term, weight, value in evaluated}
            return shares_of(weighted, leaf)

    def _evaluated(
        self,
        logits_BC: Tensor,
        labels_B: Tensor,
        teacher_logits_BC: Tensor | None,
        num_examples: int,
        num_labelled: int,
        step: int,
    ) -> Iterator[tuple[LossTerm, float, Tensor]]:
        """Each term with its weight at this step and its value."""
        for term in self.loss_terms:
            options: dict[str, float] = {"normalizer": num_examples}
            if isinstance(term, SoftenedTerm):
                options["temperature"] = self._at(term.temperature, step)
            if term.kind == "hard":
                options["normalizer"] = num_labelled
            else:
                assert teacher_logits_BC is not None, f"{term.title} without teacher logits"
            if options["normalizer"]:
                value = self.loss_of(term)(logits_BC, labels_B, teacher_logits_BC, **options)
            else:
                # Joined to the graph, so that a step without a labelled row has a gradient of zero.
                value = logits_BC.float().sum() * 0.0
            yield term, self._at(term.weight, step), value

    def loss_of(self, term: LossTerm) -> Callable[..., Tensor]:
        """A term as a function of logits, labels and teacher's logits.

        Also of what a step may change, by name: `normalizer` and, if it softens, `temperature`.
        """
        if term.kind == "hard":
            hard = binary_hard_label_loss if self.is_binary else hard_label_loss
            constant: dict[str, Any] = {
                "label_smoothing": self.label_smoothing,
                "class_weights_C": self.class_weights_C,
            }
            return lambda logits, labels, teacher, **rest: hard(logits, labels, **constant, **rest)
        soft = (_BINARY_SOFT_LOSSES if self.is_binary else _SOFT_LOSSES)[term.kind]
        constant = term.parameters()
        if term.kind == "decoupled":
            return lambda logits, labels, teacher, **rest: soft(
                logits, teacher, labels, **constant, **rest
            )
        return lambda logits, labels, teacher, **rest: soft(logits, teacher, **constant, **rest)

    def _at(self, value: object, step: int) -> float:
        return value_at(value, step, total_steps=self.total_steps)  # type: ignore[arg-type]


def compared(logits_AC: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits, labels and teacher's logits of the answers of a pass, as distributions."""
    logits_AC, labels, teacher = (
        logits_AC[: batch.num_answers],
        batch.labels_A,
        batch.teacher_logits_AC,
    )
    if batch.text_of_answer_A is None:
        return logits_AC, labels, teacher
    return as_distributions(
        logits_AC,
        labels,
        teacher,
        batch.text_of_answer_A,
        joined_A=batch.joined_A,
        shape=batch.distributions,
    )


__all__ = ["IGNORE_INDEX", "Objective", "StepObjective", "compared"]
