"""A student and what is trained or kept beside it: one network that reads each text once.

    texts ─► student ─┬─ logits ─────────────────────────────────────────┐
        │             ├─ text vectors ─► adversary ─► logits of groups ──┼─► objective, see
        │             └─ layers ─► bridges to the teacher's widths ──────┤   companion_objective.py
        └──────► running average of the student ─► its logits ───────────┘

A companion is a part with weights of its own, and a reader that says what it needs of the student's
pass. The student runs once in a pass, whoever reads along, and draws its dropout as it would alone.
In evaluation mode the network is the bare student. Parts are checkpointed with it under names of
their own, and left behind when it is saved.

Shapes: S segments of packed texts (S = B texts if padded), A answers, C classes, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from tasks.modeling.config import PairReading
from tasks.modeling.heads.classifier import EncoderClassifier, EncoderWithHead
from tasks.modeling.texts import Texts
from tasks.training.auxiliary.layer_views import View, Wanted, read_layers


class Reading(NamedTuple):
    """One pass of a student, as its companions see it.

    Args:
        texts: what it read.
        logits_AC: what it said; (S, C) of texts that may be packed.
        vectors_SD: its text vectors, if a companion wants them.
        views: of its layers: those that companions want.
        told: what objectives tell their companions of the step, by name.
    """

    texts: Texts
    logits_AC: Tensor
    vectors_SD: Tensor | None
    views: Mapping[tuple[View, int], Tensor]
    told: Mapping[str, Tensor]


class Reader(ABC):
    """How a companion reads along. It holds no weights: the network gives it the companion's part.

    Attributes:
        name: of the part in the network, and so in checkpoints.
        student_name: of the student's weights in checkpoints where nobody else reads along.
        is_trained: whether the part is: one that is not stays in evaluation mode.
        reads_vectors: whether it needs the student's text vectors.
        can_pack: whether texts may lie several to a row.
        views: (view, layer) of the student that it needs.
    """

    name: ClassVar[str]
    student_name: ClassVar[str] = "student"
    is_trained: ClassVar[bool] = True
    reads_vectors: ClassVar[bool] = False
    can_pack: bool = True
    views: Collection[tuple[View, int]] = ()

    @abstractmethod
    def read(self, part: Any, reading: Reading) -> Any:
        """What the companion's objective asks of this pass, in any mode."""

    def follow(self, part: Any, student: nn.Module) -> None:  # noqa: B027
        """Change the part after the student's step; most do not."""


class AccompaniedStudent(nn.Module):
    """A student and its companions; in evaluation mode it is the student.

    Args:
        student: what is to be kept.
        companions: reader and part of each.
    """

    def __init__(
        self, student: EncoderWithHead, companions: Sequence[tuple[Reader, nn.Module]]
    ) -> None:
        """Hold them; nothing is drawn."""
        super().__init__()
        self.readers = tuple(reader for reader, _ in companions)
        is_alone = len(self.readers) == 1
        self._student_name = self.readers[0].student_name if is_alone else Reader.student_name
        self.add_module(self._student_name, student)
        for reader, part in companions:
            self.add_module(reader.name, part)
        self.can_pack = student.can_pack and all(reader.can_pack for reader in self.readers)

    @property
    def bare(self) -> EncoderWithHead:
        """The student alone."""
        return getattr(self, self._student_name)

    @property
    def backbone(self) -> nn.Module:
        """The encoder."""
        return self.bare.backbone

    @property
    def head(self) -> nn.Module:
        """The linear layer on top."""
        return self.bare.head

    @property
    def pairs(self) -> PairReading:
        """How it reads the two texts of a pair."""
        return self.bare.pairs

    def part(self, reader: Reader) -> nn.Module:
        """The weights of the companion that `reader` reads for."""
        return getattr(self, reader.name)

    def train(self, mode: bool = True) -> AccompaniedStudent:
        """Dropout of what is trained alone: a teacher in training mode teaches noise."""
        super().train(mode)
        for reader in self.readers:
            if not reader.is_trained:
                self.part(reader).eval()
        return self

    def forward(self, texts: Texts, **told: Tensor) -> Any:
        """Logits (A, C); in training what `beside` gives."""
        return self.beside(texts, **told) if self.training else self.bare(texts)

    def beside(
        self, texts: Texts, *, vectors_SD: Tensor | None = None, **told: Tensor
    ) -> tuple[Any, ...]:
        """Logits (A, C), then what each companion reads, in any mode.

        Args:
            vectors_SD: text vectors in the place of the student's own, whose encoder then rests;
                only where no companion wants its layers.
            told: what objectives tell of the step; see `CompanionObjective.tells`.
        """
        student = self.bare
        wanted: Wanted = {view: None for reader in self.readers for view in reader.views}
        views: dict[tuple[View, int], Tensor] = {}
        states: Tensor | None = None
        if wanted:
            states, views = read_layers(student, texts, wanted)
        if any(reader.reads_vectors for reader in self.readers):
            assert isinstance(student, EncoderClassifier), "units have no text vectors"
            if vectors_SD is None:
                states = student.hidden_states(texts) if states is None else states
                vectors_SD = student.pool(states, texts)
            logits_AC = student.answers_to_vectors(vectors_SD).float()
        else:
            logits_AC = student(texts) if states is None else student.answers(states, texts)
        reading = Reading(texts, logits_AC, vectors_SD, views, told)
        # In this frame: what a compiled network reads of its layers stays in few graphs.
        return (logits_AC, *[reader.read(self.part(reader), reading) for reader in self.readers])

    @torch.no_grad()
    def after_step(self) -> None:
        """Let those companions that follow the student do so."""
        for reader in self.readers:
            reader.follow(self.part(reader), self.bare)
