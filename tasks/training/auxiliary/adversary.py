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

from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.runtime.seeding import derive_seed
from tasks.training.auxiliary.adversary_config import (
    AdversaryConfig,
    lacks_groups,
    lacks_vectors,
)
from tasks.training.auxiliary.network import Reader, Reading
from tasks.training.auxiliary.objective import (
    Companion,
    CompanionObjective,
    Place,
    WeightedTerm,
)
from tasks.training.batching.batches import Step
from tasks.training.batching.examples import Batch, Examples
from tasks.training.losses import hard_label_loss
from tasks.training.objectives.class_weights import class_weights


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
    # Teachers have adversaries, too: a "student" in their checkpoints would be a riddle.
    student_name: ClassVar[str] = "classifier"
    reads_vectors: ClassVar[bool] = True

    def read(self, part: Any, reading: Reading) -> Tensor:
        """Logits of the groups, (S, G); `strength`, lambda, is told by the objective."""
        assert reading.vectors_SD is not None, "asked for"
        return part(reverse_gradient(reading.vectors_SD, reading.told["strength"])).float()


@dataclass(frozen=True)
class AdversaryObjective(CompanionObjective):
    """The adversary's cross-entropy.

    Args:
        config: of the adversary.
        group_weights_G: what a text of each group counts, so that a rare one is worth telling.
    """

    meets: ClassVar[Place] = "vectors"
    config: AdversaryConfig
    group_weights_G: Tensor

    def tells(self, step: Step) -> dict[str, Tensor]:
        """`strength`, a float scalar: lambda at this step."""
        strength = self.config.strength(step.number, total_steps=self.total_steps)
        # On its device without a wait, as a number that is no part of a compiled graph.
        return {"strength": torch.full((), strength, device=self.group_weights_G.device)}

    def terms(
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

    def to(self, device: torch.device) -> AdversaryObjective:
        """The same with its weights on `device`."""
        return replace(self, group_weights_G=self.group_weights_G.to(device))

    def settings(self, step: int) -> dict[str, float]:
        """`adversary_lambda`."""
        return {"adversary_lambda": self.config.strength(step, total_steps=self.total_steps)}


def adversary_of(
    student: nn.Module, examples: Examples, config: AdversaryConfig, *, seed: int
) -> Companion:
    """What listens to `student`, and its cross-entropy.

    Args:
        examples: rows with their groups.
        seed: of the run; the adversary is drawn from a stream of its own.
    Raises: RecipeError if there is but one group, or the student has no text vectors.
    """
    if not isinstance(student, EncoderClassifier):
        raise lacks_vectors(type(student).__name__)
    assert examples.groups is not None
    names = examples.group_names
    found = [names[number] for number in np.unique(examples.groups)]
    if len(found) < 2:
        raise lacks_groups(config.groups, found)
    weights_G = class_weights(examples.groups, num_labels=len(names), kind="balanced")
    assert weights_G is not None
    torch.manual_seed(derive_seed(seed, "adversary"))
    adversary = nn.Sequential(
        nn.Linear(student.backbone.config.hidden_size, config.hidden_size),
        nn.ReLU(),
        nn.Linear(config.hidden_size, len(names)),
    )
    return Companion(AdversaryReader(), adversary, AdversaryObjective(config, weights_G))
