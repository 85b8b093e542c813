"""The task's terms, and beside them those of everything that is trained beside the student.

A companion's objective gives its own terms and knows no task. `AccompaniedObjective` adds them to
the task's, which count once, whoever reads along.

    matching alone   task + layer terms                shares in the student's weights
    adversary alone  task + adversary                  shares in the text vectors
    average alone    task + ema                        shares in the logits
    several          task + the terms of each          shares in the lowest of these places

Shares of terms can be compared only where all of them arrive. The gradient of every term passes the
logits, the text vectors and the weights in this order, as far down as that of the lowest companion
begins: so several companions are measured where the one that begins lowest is measured alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from tasks.modeling.heads.classifier import EncoderClassifier, EncoderWithHead
from tasks.training.auxiliary.network import AccompaniedStudent, Reader
from tasks.training.batching.batches import Step
from tasks.training.batching.examples import Batch
from tasks.training.objectives.gradient_shares import shares_in_weights, shares_of
from tasks.training.objectives.objective import Objective

Place = Literal["logits", "vectors", "weights"]
_DOWNWARDS: tuple[Place, ...] = ("logits", "vectors", "weights")


class WeightedTerm(NamedTuple):
    """One term, or a part of one, in a pass.

    Args:
        title: what it is reported under; parts of one title are added up.
        weighted: its value times its weight, to differentiate.
        value: unweighted and detached.
    """

    title: str
    weighted: Tensor
    value: Tensor


@dataclass(frozen=True)
class CompanionObjective(ABC):
    """What one companion adds: its own terms alone.

    Args:
        total_steps: planned: what schedules run over.

    Attributes:
        meets: the lowest place at which the gradient of its terms enters the student.
    """

    meets: ClassVar[Place]
    total_steps: int = field(default=1, kw_only=True)

    @abstractmethod
    def terms(
        self, read: Any, logits_AC: Tensor, batch: Batch, step: Step
    ) -> Iterator[WeightedTerm]:
        """Its terms of one pass.

        Args:
            read: what its reader gave.
            logits_AC: the student's.
        """

    @abstractmethod
    def settings(self, step: int) -> dict[str, float]:
        """What its terms are set to at a step, for the history."""

    def tells(self, step: Step) -> dict[str, Tensor]:
        """What its part of the network must know of a step; most need nothing."""
        del step
        return {}

    def to(self, device: torch.device) -> Self:
        """The same with what it holds on `device`; most hold nothing."""
        del device
        return self

    def over(self, total_steps: int) -> Self:
        """The same with its schedules spread over the planned steps."""
        return replace(self, total_steps=total_steps)


class Companion(NamedTuple):
    """What a student has beside it.

    Args:
        reader: how it reads along.
        part: its weights in the network.
        objective: its terms.
    """

    reader: Reader
    part: nn.Module
    objective: CompanionObjective


@dataclass(frozen=True)
class AccompaniedObjective:
    """What a student and its companions minimise together.

    Args:
        task: what the student minimises alone.
        companions: whose terms are added, in the order in which the network reads for them.
    """

    task: Objective
    companions: tuple[CompanionObjective, ...]

    @property
    def is_binary(self) -> bool:
        """Whether each class is a decision of its own, as in the task."""
        return self.task.is_binary

    def to(self, device: torch.device) -> AccompaniedObjective:
        """The same with what it holds on `device`."""
        companions = tuple(one.to(device) for one in self.companions)
        return replace(self, task=self.task.to(device), companions=companions)

    def over(self, total_steps: int) -> AccompaniedObjective:
        """The same with all schedules spread over the planned steps."""
        companions = tuple(one.over(total_steps) for one in self.companions)
        return replace(self, task=self.task.over(total_steps), companions=companions)

    def told(self, step: Step) -> dict[str, Tensor]:
        """What the network must know of a step, by name."""
        return {name: told for one in self.companions for name, told in one.tells(step).items()}

    def terms(self, forward: Callable[..., Any], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The task's terms, and those of each companion unweighted, as `loss_<title>`."""
        logits_AC, *read = forward(batch.texts, **self.told(step))
        found = self.task.terms(lambda _: logits_AC, batch, step)
        total = found["loss"]
        for term in self._beside(logits_AC, read, batch, step):
            total = total + term.weighted
            name = f"loss_{term.title}"
            found[name] = found[name] + term.value if name in found else term.value
        return {**found, "loss": total}

    def gradient_shares(
        self,
        network: AccompaniedStudent,
        batch: Batch,
        step: Step,
        *,
        further: Callable[[Tensor], Mapping[str, Tensor]] = lambda _: {},
    ) -> dict[str, Tensor]:
        """How much each term pulls where all of them meet: `share_<name>`, together 1.

        See `gradient_shares`. At the logits no network is run backward, at the text vectors the
        student's encoder is not, in its trained weights there is one backward pass a term. No
        gradient is left behind.

        Args:
            further: weighted terms beside these, made from the logits (A, C).
        """
        place = max((one.meets for one in self.companions), key=_DOWNWARDS.index)
        told, bare = self.told(step), network.bare
        with torch.enable_grad():
            if place == "logits":
                with torch.no_grad():
                    logits_AC, *read = network.beside(batch.texts, **told)
                at = logits_AC = logits_AC.detach().requires_grad_()
            elif place == "vectors":
                assert isinstance(bare, EncoderClassifier), "units have no text vectors"
                with torch.no_grad():
                    vectors_SD = bare.pooled(batch.texts)
                at = vectors_SD.detach().requires_grad_()
                logits_AC, *read = network.beside(batch.texts, vectors_SD=at, **told)
            else:
                at = [weight for weight in bare.parameters() if weight.requires_grad]
                logits_AC, *read = network.beside(batch.texts, **told)
            weighted = self.task.weighted(logits_AC, batch, step)
            for title, value, _ in self._beside(logits_AC, read, batch, step):
                weighted[title] = weighted[title] + value if title in weighted else value
            weighted |= further(logits_AC)
            if isinstance(at, list):
                return shares_in_weights(weighted, at)
            return shares_of(weighted, at)

    def settings(self, step: int) -> dict[str, float]:
        """Those of the task, then those of each companion."""
        found = self.task.settings(step)
        for one in self.companions:
            found |= one.settings(step)
        return found

    def _beside(
        self, logits_AC: Tensor, read: Sequence[Any], batch: Batch, step: Step
    ) -> Iterator[WeightedTerm]:
        for one, own in zip(self.companions, read, strict=True):
            yield from one.terms(own, logits_AC, batch, step)


def joined(
    student: EncoderWithHead, task: Objective, companions: Sequence[Companion]
) -> tuple[nn.Module, Objective | AccompaniedObjective]:
    """One network of `student` and all its companions, and what they minimise.

    Args:
        task: what the student minimises alone; nothing else is minimised without companions.
    """
    if not companions:
        return student, task
    network = AccompaniedStudent(student, [(one.reader, one.part) for one in companions])
    return network, AccompaniedObjective(task, tuple(one.objective for one in companions))
