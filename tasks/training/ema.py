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
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tasks.modeling.classifier import EncoderWithHead
from tasks.modeling.texts import Texts
from tasks.training.batches import Step
from tasks.training.ema_config import EMAConfig
from tasks.training.examples import Batch
from tasks.training.gradient_shares import shares_of
from tasks.training.objective_config import KLTerm
from tasks.training.objectives import Objective


class SelfTaughtNetwork(nn.Module):
    """A student and the running average of its weights.

    Args:
        student: what is to be kept; in evaluation mode this network is it.
        decay: in [0, 1).
    """

    def __init__(self, student: EncoderWithHead, *, decay: float) -> None:
        """The average starts as the student; nothing is drawn."""
        super().__init__()
        self.student = student
        self.average = copy.deepcopy(student).requires_grad_(False).eval()
        self.decay = decay
        self.can_pack = student.can_pack

    @property
    def backbone(self) -> nn.Module:
        """The encoder."""
        return self.student.backbone

    @property
    def head(self) -> nn.Module:
        """The linear layer on top."""
        return self.student.head

    def train(self, mode: bool = True) -> SelfTaughtNetwork:
        """Dropout of the student alone: a teacher in training mode teaches noise."""
        super().train(mode)
        self.average.eval()
        return self

    def forward(self, texts: Texts) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (S, C); in training those of the average beside them."""
        if not self.training:
            return self.student(texts)
        with torch.no_grad():
            theirs = self.average(texts)
        return self.student(texts), theirs

    @torch.no_grad()
    def after_step(self) -> None:
        """Let the average follow the student by one step."""
        for mean, weight in zip(self.average.parameters(), self.student.parameters(), strict=True):
            mean.lerp_(weight.to(mean), 1 - self.decay)


@dataclass(frozen=True)
class SelfTaughtObjective:
    """The task's objective plus what is learned from the average.

    Args:
        task: what is minimised without it.
        config: weight and temperature.
        total_steps: planned: what schedules run over.
    """

    task: Objective
    config: EMAConfig
    total_steps: int = 1

    def terms(
        self, forward: Callable[..., tuple[Tensor, Tensor]], batch: Batch, step: Step
    ) -> dict[str, Tensor]:
        """The task's terms, and `loss_ema`, unweighted, in nats an answer."""
        logits, theirs = forward(batch.texts)
        found = self.task.terms(lambda _: logits, batch, step)
        learned = self._term.terms(lambda _: logits, _taught_by(theirs, batch), step)
        return {
            **found,
            "loss": found["loss"] + learned["loss"],
            "loss_ema": learned["loss_ema"],
        }

    def gradient_shares(
        self, network: SelfTaughtNetwork, batch: Batch, step: Step
    ) -> dict[str, Tensor]:
        """How much each term pulls at the logits: `share_<name>`, `share_ema` too, together 1.

        See `gradient_shares`. No network is run backward.
        """
        with torch.no_grad():
            logits, theirs = network.student(batch.texts), network.average(batch.texts)
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            pulls = self.task.weighted(leaf, batch, step)
            pulls |= self._term.weighted(leaf, _taught_by(theirs, batch), step)
            return shares_of(pulls, leaf)

    @property
    def _term(self) -> Objective:
        kl = KLTerm(
            kind="kl",
            name="ema",
            weight=self.config.weight,
            temperature=self.config.temperature,
        )
        return Objective((kl,), is_binary=self.task.is_binary, total_steps=self.total_steps)

    def to(self, device: torch.device) -> SelfTaughtObjective:
        """The same with what its task holds on `device`."""
        return replace(self, task=self.task.to(device))

    def over(self, total_steps: int) -> SelfTaughtObjective:
        """The same with all schedules spread over the planned steps."""
        return replace(self, task=self.task.over(total_steps), total_steps=total_steps)

    def settings(self, step: int) -> dict[str, float]:
        """Those of the task, and weight and temperature of the average's term."""
        return {**self.task.settings(step), **self._term.settings(step)}


def _taught_by(theirs: Tensor, batch: Batch) -> Batch:
    """`batch` with the average's logits in the place of the teacher's."""
    return replace(batch, teacher_logits_AC=theirs[: batch.num_answers].detach())
