"""Layers of the student against layers of the teacher, which reads beside it.

    student's tokens → student → states of its layers → pooled → projected ─┐
    teacher's tokens → teacher (frozen, no gradient) → states → pooled ─────┴→ layer terms

Logits are kept in the store because they are a few numbers; states of all layers are kilobytes a
text, so the teacher is asked anew at each step: its forward pass costs about as much as a third of
its own training. Each text is the same example for both, joined by its id; texts, languages and
tokenizers may differ, for a state is pooled over its text. Projections are trained, clipped and
checkpointed with the student and left behind when it is saved.

References: Romero et al. 2015, arXiv:1412.6550 (hints); Jiao et al. 2020, arXiv:1909.10351, section
    3.1 (which layers); Sun et al. 2019, arXiv:1908.09355 (states of whole texts).
Shapes: B batch, S segments of packed texts (S = B if padded), D width, C classes, K layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from data_contracts.errors import RecipeError
from tasks.modeling.classifier import EncoderClassifier, EncoderWithHead
from tasks.modeling.texts import Texts
from tasks.training.batches import Step
from tasks.training.examples import Batch
from tasks.training.losses.embeddings import contrastive_loss
from tasks.training.losses.geometry import angle_relation_loss, cka_loss, distance_relation_loss
from tasks.training.losses.hidden import hidden_cosine_loss, hidden_mse_loss
from tasks.training.matching_config import LayerTerm
from tasks.training.objectives import Objective
from tasks.training.projections import Projection
from tasks.training.schedules import value_at

_LOSSES: dict[str, Callable[..., Tensor]] = {
    "hidden_mse": hidden_mse_loss,
    "hidden_cosine": hidden_cosine_loss,
    "contrastive": contrastive_loss,
    "cka": cka_loss,
    "distances": distance_relation_loss,
    "angles": angle_relation_loss,
}


@dataclass(frozen=True)
class Comparison:
    """One pair of layers under one term; `projection` numbers the bridge, if there is one."""

    term: LayerTerm
    student_layer: int
    teacher_layer: int
    projection: int | None


class MatchedNetwork(nn.Module):
    """A student and the bridges to its teacher's widths.

    Args:
        student: what is to be kept; in evaluation mode this network is it.
        layers: of the student, whose text vectors are read out.
        projections: as many as there are comparisons that need one.
    """

    def __init__(
        self, student: EncoderClassifier, layers: Sequence[int], projections: Sequence[Projection]
    ) -> None:
        """Draws no random number: projections start as the identity."""
        super().__init__()
        self.student = student
        self.projections = nn.ModuleList(projections)
        self.layers = tuple(layers)
        self.can_pack = student.can_pack

    @property
    def backbone(self) -> nn.Module:
        """The encoder."""
        return self.student.backbone

    @property
    def head(self) -> nn.Module:
        """The linear layer on top of its text vectors."""
        return self.student.head

    def forward(
        self, texts: Texts, bridges: Sequence[tuple[int, int | None]] = ()
    ) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """Logits (S, C); in training also the text vectors of `bridges`, each (S, D).

        Args:
            bridges: (layer, number of its projection or None).
        """
        if not self.training:
            return self.student(texts)
        *_, pooled_SD = vectors = layer_vectors(self.student, texts, self.layers)
        logits_SC = self.student.head(self.student.dropout(pooled_SD))
        of_layer = dict(zip(self.layers, vectors, strict=True))
        found = (
            of_layer[layer] if number is None else self.projections[number](of_layer[layer])
            for layer, number in bridges
        )
        return logits_SC, tuple(found)


def layer_vectors(
    model: EncoderClassifier, texts: Texts, layers: Sequence[int]
) -> tuple[Tensor, ...]:
    """Pooled states of `layers`, each (S, D), read in one pass."""
    states = model.all_hidden_states(texts)
    return tuple(model.pool(states[layer], texts) for layer in layers)


@dataclass(frozen=True)
class MatchingObjective:
    """The task's objective plus the layer terms.

    Args:
        task: what is minimised without them.
        teacher: frozen, in evaluation mode.
        comparisons: pairs of layers, each under its term; a term's pairs are averaged.
        total_steps: planned: what schedules run over.
    """

    task: Objective
    teacher: EncoderClassifier
    comparisons: tuple[Comparison, ...]
    total_steps: int = 1

    def terms(
        self, forward: Callable[..., tuple[Tensor, tuple[Tensor, ...]]], batch: Batch, step: Step
    ) -> dict[str, Tensor]:
        """The task's terms, and each layer term unweighted, as `loss_<kind>`."""
        assert batch.teacher_texts is not None, "rows are mapped with the teacher's tokens"
        layers = sorted({one.teacher_layer for one in self.comparisons})
        with torch.no_grad():
            theirs = dict(
                zip(layers, layer_vectors(self.teacher, batch.teacher_texts, layers), strict=True)
            )
        bridges = [(one.student_layer, one.projection) for one in self.comparisons]
        logits_SC, vectors = forward(batch.texts, bridges)
        found = self.task.terms(lambda _: logits_SC, batch, step)
        total, count = found["loss"], len(batch.labels_A)
        for one, mine_SD in zip(self.comparisons, vectors, strict=True):
            alike = sum(other.term == one.term for other in self.comparisons)
            loss = _LOSSES[one.term.kind](
                mine_SD[:count],
                theirs[one.teacher_layer][:count],
                normalizer=len(step.rows) * alike,
            )
            weight = value_at(one.term.weight, step.number, total_steps=self.total_steps)
            total = total + weight * loss
            name = f"loss_{one.term.kind}"
            found[name] = found[name] + loss.detach() if name in found else loss.detach()
        return {**found, "loss": total}

    def to(self, device: torch.device) -> MatchingObjective:
        """The same with its teacher on `device`."""
        return replace(self, task=self.task.to(device), teacher=self.teacher.to(device))

    def over(self, total_steps: int) -> MatchingObjective:
        """The same with all schedules spread over the planned steps."""
        return replace(self, task=self.task.over(total_steps), total_steps=total_steps)

    def settings(self, step: int) -> dict[str, float]:
        """Those of the task, and the weight of each layer term."""
        weights = {
            f"weight_{one.term.kind}": value_at(one.term.weight, step, total_steps=self.total_steps)
            for one in self.comparisons
        }
        return {**self.task.settings(step), **weights}


def with_matching(
    student: nn.Module, teacher: EncoderWithHead, objective: Objective, terms: Sequence[LayerTerm]
) -> tuple[MatchedNetwork, MatchingObjective]:
    """`student` with bridges to `teacher`, which is frozen here, and what they minimise.

    Raises: RecipeError if a layer is not there, or one of the two has no text vectors.
    """
    if not isinstance(student, EncoderClassifier) or not isinstance(teacher, EncoderClassifier):
        raise RecipeError(
            "layer terms compare text vectors, which a network over units does not have",
            rule="matching is for problems with one answer a text",
            remedy="leave student.matching out",
        )
    teacher.requires_grad_(False).eval()
    sizes = [model.backbone.config.num_hidden_layers for model in (student, teacher)]
    widths = [model.backbone.config.hidden_size for model in (student, teacher)]
    comparisons: list[Comparison] = []
    projections: list[Projection] = []
    for term in terms:
        for mine, theirs in term.pairs(*sizes):
            number = None
            if term.projects:
                number = len(projections)
                projections.append(Projection(*widths))
            comparisons.append(Comparison(term, mine, theirs, number))
    # The topmost layer last: its vector is what the head reads.
    layers = sorted({one.student_layer for one in comparisons} | {sizes[0]})
    network = MatchedNetwork(student, layers, projections)
    return network, MatchingObjective(objective, teacher, tuple(comparisons))
