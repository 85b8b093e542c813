"""Self-distillation: the student learns from the running average of its own weights.

    after each step      average <- decay * average + (1 - decay) * student
    loss                 the task's + weight * T**2 * KL(average || student)

The average is steadier than any of the steps that it is made of. It starts as the student, reads
in evaluation mode (without dropout), gets no gradient, is checkpointed with the student, and is
left behind when that is saved. It costs a second forward pass and a second copy of the weights.

References: Tarvainen & Valpola 2017, arXiv:1703.01780 (there the average has noise of its own, and
    a decay that rises at first).
Shapes: A answers, C classes, S segments of packed texts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tasks.modeling.heads.classifier import EncoderWithHead
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.network import Reader, Reading
from tasks.training.auxiliary.objective import (
    Companion,
    CompanionObjective,
    Place,
    WeightedTerm,
)
from tasks.training.batching.batches import Step
from tasks.training.batching.examples import Batch
from tasks.training.objectives.config import KLTerm
from tasks.training.objectives.objective import Objective


class AverageReader(Reader):
    """Asks the average of the same texts; the average follows the student's steps.

    Args:
        decay: in [0, 1).
    """

    name: ClassVar[str] = "average"
    is_trained: ClassVar[bool] = False

    def __init__(self, decay: float) -> None:
        """Keep the decay."""
        self.decay = decay

    def read(self, part: Any, reading: Reading) -> Tensor:
        """The average's logits, (S, C)."""
        with torch.no_grad():
            return part(reading.texts)

    def follow(self, part: Any, student: nn.Module) -> None:
        """Let the average follow the student by one step."""
        for mean, weight in zip(part.parameters(), student.parameters(), strict=True):
            mean.lerp_(weight.to(mean), 1 - self.decay)


@dataclass(frozen=True)
class AverageObjective(CompanionObjective):
    """What is learned from the average.

    Args:
        config: weight and temperature.
        is_binary: whether each class is a decision of its own, as in the student's task.
    """

    meets: ClassVar[Place] = "logits"
    config: EMAConfig
    is_binary: bool

    def terms(
        self, read: Tensor, logits_AC: Tensor, batch: Batch, step: Step
    ) -> Iterator[WeightedTerm]:
        """`ema`: T² · KL(average || student), in nats an answer."""
        from_teacher = replace(batch, teacher_logits_AC=read[: batch.num_answers].detach())
        learned = self._term.terms(lambda _: logits_AC, from_teacher, step)
        yield WeightedTerm("ema", learned["loss"], learned["loss_ema"])

    @property
    def _term(self) -> Objective:
        kl = KLTerm(
            kind="kl",
            name="ema",
            weight=self.config.weight,
            temperature=self.config.temperature,
        )
        return Objective((kl,), is_binary=self.is_binary, total_steps=self.total_steps)

    def settings(self, step: int) -> dict[str, float]:
        """Weight and temperature of the average's term."""
        return self._term.settings(step)


def running_average(student: EncoderWithHead, config: EMAConfig, *, is_binary: bool) -> Companion:
    """The average of `student`'s weights, which starts as these, and what is learned from it.

    Args:
        is_binary: whether each class is a decision of its own.
    """
    average = copy.deepcopy(student).requires_grad_(False).eval()
    return Companion(
        AverageReader(config.decay), average, AverageObjective(config, is_binary=is_binary)
    )
