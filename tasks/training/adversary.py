"""Domain-adversarial training: text vectors from which nobody can tell language or domain.

    texts → encoder → pooled vectors ─┬─ head → the task's losses
                                      └─ reversal → adversary → cross-entropy of the groups

The adversary is trained to tell the groups. On its way back the gradient is multiplied by -lambda,
so the encoder is trained to prevent just that; lambda rises from 0, because at first nobody knows
anything. The adversary is trained, clipped and checkpointed with the network, and left behind when
that is saved.

References: Ganin et al. 2016, arXiv:1505.07818.
Shapes: B batch, S segments of packed texts (S = B if padded), D width, C classes, G groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from data_contracts.errors import RecipeError
from tasks.modeling.classifier import EncoderClassifier
from tasks.modeling.texts import Texts
from tasks.runtime.seeding import derive_seed
from tasks.training.adversary_config import AdversaryConfig
from tasks.training.batches import Step
from tasks.training.class_weights import class_weights
from tasks.training.examples import Batch, Examples
from tasks.training.gradient_shares import shares_of
from tasks.training.losses import hard_label_loss
from tasks.training.objectives import Objective


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: Tensor) -> Tensor:
        ctx.save_for_backward(strength)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (strength,) = ctx.saved_tensors
        return -strength * gradients[0], None


def reverse_gradient(values: Tensor, strength: Tensor) -> Tensor:
    """`values` as they are; the gradient that comes back is multiplied by -`strength` (scalar)."""
    found: Any = _Reversed.apply(values, strength)
    return found


class AdversarialNetwork(nn.Module):
    """A classifier of texts and its adversary.

    Args:
        classifier: what is to be kept; in evaluation mode this network is it.
        num_groups: G.
        hidden_size: of the adversary.
    """

    def __init__(self, classifier: EncoderClassifier, *, num_groups: int, hidden_size: int) -> None:
        """Draw the adversary's weights from torch's current random state."""
        super().__init__()
        self.classifier = classifier
        width = classifier.backbone.config.hidden_size
        self.adversary = nn.Sequential(
            nn.Linear(width, hidden_size), nn.ReLU(), nn.Linear(hidden_size, num_groups)
        )
        self.can_pack = classifier.can_pack

    @property
    def backbone(self) -> nn.Module:
        """The encoder."""
        return self.classifier.backbone

    @property
    def head(self) -> nn.Module:
        """The linear layer on top of its text vectors."""
        return self.classifier.head

    def forward(self, texts: Texts, strength: Tensor | None = None) -> Tensor:
        """Logits of the classes, (S, C); in training those of the groups beside them, (S, C + G).

        Args:
            strength: float scalar, lambda; needed in training.
        """
        if not self.training:
            return self.classifier(texts)
        assert strength is not None, "the objective names lambda"
        return self.judged(self.classifier.pooled(texts), strength)

    def judged(self, pooled_SD: Tensor, strength: Tensor) -> Tensor:
        """What head and adversary say of text vectors, (S, C + G)."""
        logits_SC = self.classifier.head(self.classifier.dropout(pooled_SD))
        groups_SG = self.adversary(reverse_gradient(pooled_SD, strength))
        return torch.cat([logits_SC.float(), groups_SG.float()], 1)


@dataclass(frozen=True)
class AdversarialObjective:
    """The task's objective plus the adversary's cross-entropy.

    Args:
        task: what is minimised without an adversary.
        config: of the adversary.
        group_weights_G: what a text of each group counts, so that a rare one is worth telling.
        total_steps: planned.
    """

    task: Objective
    config: AdversaryConfig
    group_weights_G: Tensor
    total_steps: int = 1

    def terms(self, forward: Callable[..., Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The task's terms; `loss_adversary` in nats a text, of which random guessing has log G."""
        both = forward(batch.texts, self._lambda(step))
        told = self._told(both, batch, step)
        found = self.task.terms(lambda _: self._logits(both), batch, step)
        return {**found, "loss": found["loss"] + told, "loss_adversary": told.detach()}

    def gradient_shares(
        self, network: AdversarialNetwork, batch: Batch, step: Step
    ) -> dict[str, Tensor]:
        """How much each term pulls at the text vectors: `share_<name>`, together 1.

        See `gradient_shares`. `share_adversary` is that of the reversed gradient, which grows with
        lambda: the adversary does not reach the logits. The encoder is not run backward.
        """
        with torch.no_grad():
            pooled_SD = network.classifier.pooled(batch.texts)
        with torch.enable_grad():
            leaf = pooled_SD.detach().requires_grad_()
            both = network.judged(leaf, self._lambda(step))
            pulls = self.task.weighted(self._logits(both), batch, step)
            pulls["adversary"] = self._told(both, batch, step)
            return shares_of(pulls, leaf)

    def _lambda(self, step: Step) -> Tensor:
        strength = self.config.strength(step.number, total_steps=self.total_steps)
        # On its device without a wait, as a number that is no part of a compiled graph.
        return torch.full((), strength, device=self.group_weights_G.device)

    def _logits(self, both: Tensor) -> Tensor:
        return both[:, : -len(self.group_weights_G)]

    def _told(self, both: Tensor, batch: Batch, step: Step) -> Tensor:
        """Cross-entropy of the groups, nats a text."""
        assert batch.groups_B is not None, "rows are mapped with their groups"
        return hard_label_loss(
            both[: len(batch.groups_B), -len(self.group_weights_G) :],
            batch.groups_B,
            normalizer=len(step.rows),
            class_weights_C=self.group_weights_G,
        )

    def to(self, device: torch.device) -> AdversarialObjective:
        """The same with its weights on `device`."""
        weights_G = self.group_weights_G.to(device)
        return replace(self, task=self.task.to(device), group_weights_G=weights_G)

    def over(self, total_steps: int) -> AdversarialObjective:
        """The same with lambda and the task's schedules spread over the planned steps."""
        return replace(self, task=self.task.over(total_steps), total_steps=total_steps)

    def settings(self, step: int) -> dict[str, float]:
        """Those of the task, and `adversary_lambda`."""
        strength = self.config.strength(step, total_steps=self.total_steps)
        return {**self.task.settings(step), "adversary_lambda": strength}


def with_adversary(
    model: nn.Module,
    examples: Examples,
    objective: Objective,
    config: AdversaryConfig,
    *,
    seed: int,
) -> tuple[AdversarialNetwork, AdversarialObjective]:
    """`model` beside its adversary, and what both minimise.

    Args:
        examples: rows with their groups.
        seed: of the run; the adversary is drawn from a stream of its own.
    Raises: RecipeError if there is but one group, or the model has no text vectors.
    """
    if not isinstance(model, EncoderClassifier):
        raise RecipeError(
            f"an adversary reads text vectors, which a {type(model).__name__} does not have",
            rule="adversary is for problems with one answer a text",
            remedy="leave adversary out",
        )
    names = examples.group_names
    if len(names) < 2:
        raise RecipeError(
            f"all rows that are trained on have the {config.groups} {', '.join(names)}",
            rule="an adversary tells groups apart: two at least",
            remedy="train on rows of another " + config.groups + ", or leave adversary out",
        )
    assert examples.groups is not None
    weights_G = class_weights(examples.groups, num_labels=len(names), kind="balanced")
    assert weights_G is not None
    torch.manual_seed(derive_seed(seed, "adversary"))
    network = AdversarialNetwork(model, num_groups=len(names), hidden_size=config.hidden_size)
    return network, AdversarialObjective(objective, config, weights_G)
