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

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from data_contracts.errors import RecipeError
from tasks.modeling.classifier import EncoderClassifier
from tasks.runtime.seeding import derive_seed
from tasks.training.batching.batches import Step
from tasks.training.batching.examples import Batch, Examples
from tasks.training.class_weights import class_weights
from tasks.training.companions.adversary_config import AdversaryConfig
from tasks.training.companions.companion_objective import CompanionObjective, Place, WeightedTerm
from tasks.training.companions.companions import AccompaniedStudent, Reader, Reading
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


class AdversaryReader(Reader):
    """Shows the adversary the student's text vectors, and turns its gradient on the way back."""

    name: ClassVar[str] = "adversary"
    reads_vectors: ClassVar[bool] = True

    def read(self, part: Any, reading: Reading) -> Tensor:
        """Logits of the groups, (S, G); `strength`, lambda, is told by the objective."""
        assert reading.vectors_SD is not None, "asked for"
        return part(reverse_gradient(reading.vectors_SD, reading.told["strength"])).float()


class AdversarialNetwork(AccompaniedStudent):
    """A classifier of texts and its adversary.

    Args:
        classifier: what is to be kept.
        num_groups: G.
        hidden_size: of the adversary.
    """

    def __init__(self, classifier: EncoderClassifier, *, num_groups: int, hidden_size: int) -> None:
        """Draw the adversary's weights from torch's current random state."""
        width = classifier.backbone.config.hidden_size
        adversary = nn.Sequential(
            nn.Linear(width, hidden_size), nn.ReLU(), nn.Linear(hidden_size, num_groups)
        )
        # Teachers have adversaries, too: a "student" in their checkpoints would be a riddle.
        super().__init__(classifier, [(AdversaryReader(), adversary)], student_name="classifier")


@dataclass(frozen=True)
class AdversarialObjective(CompanionObjective):
    """The task's objective plus the adversary's cross-entropy.

    Args:
        task: what is minimised without an adversary.
        config: of the adversary.
        group_weights_G: what a text of each group counts, so that a rare one is worth telling.
        total_steps: planned.
    """

    meets: ClassVar[Place] = "vectors"
    task: Objective
    config: AdversaryConfig
    group_weights_G: Tensor
    total_steps: int = 1

    def tells(self, step: Step) -> dict[str, Tensor]:
        """`strength`, a float scalar: lambda at this step."""
        strength = self.config.strength(step.number, total_steps=self.total_steps)
        # On its device without a wait, as a number that is no part of a compiled graph.
        return {"strength": torch.full((), strength, device=self.group_weights_G.device)}

    def weighted_terms(
        self, read: Tensor, logits_AC: Tensor, batch: Batch, step: Step
    ) -> Iterator[WeightedTerm]:
        """`adversary`: cross-entropy in nats a text, of which random guessing has log G.

        Its share is that of the reversed gradient, which grows with lambda.
        """
        assert batch.groups_B is not None, "rows are mapped with their groups"
        told = hard_label_loss(
            read[: len(batch.groups_B)],
            batch.groups_B,
            normalizer=len(step.rows),
            class_weights_C=self.group_weights_G,
        )
        yield WeightedTerm("adversary", told, told.detach())

    def to(self, device: torch.device) -> AdversarialObjective:
        """The same with its weights on `device`."""
        weights_G = self.group_weights_G.to(device)
        return replace(self, task=self.task.to(device), group_weights_G=weights_G)

    def over(self, total_steps: int) -> AdversarialObjective:
        """The same with lambda and the task's schedules spread over the planned steps."""
        return replace(self, task=self.task.over(total_steps), total_steps=total_steps)

    def own_settings(self, step: int) -> dict[str, float]:
        """`adversary_lambda`."""
        return {"adversary_lambda": self.config.strength(step, total_steps=self.total_steps)}


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
    assert examples.groups is not None
    names = examples.group_names
    found = [names[number] for number in np.unique(examples.groups)]
    if len(found) < 2:
        raise RecipeError(
            f"all rows that are trained on have the {config.groups} {', '.join(found)}",
            rule="an adversary tells groups apart: two at least",
            remedy="train on rows of another " + config.groups + ", or leave adversary out",
        )
    weights_G = class_weights(examples.groups, num_labels=len(names), kind="balanced")
    assert weights_G is not None
    torch.manual_seed(derive_seed(seed, "adversary"))
    network = AdversarialNetwork(model, num_groups=len(names), hidden_size=config.hidden_size)
    return network, AdversarialObjective(objective, config, weights_G)
