"""Layers of the student against layers of the teacher, which reads beside it.

    student's tokens → student → its layers → views → projected ─┐
    teacher's tokens → teacher (frozen, no gradient) → views ────┴→ layer terms

Logits are kept in the store because they are a few numbers; states of all layers are kilobytes a
text, so the teacher is asked anew at each step: its forward pass costs about as much as a third of
its own training. Each text is the same example for both, joined by its id. Of terms over texts,
texts, languages and tokenizers may differ, for a state is pooled over its text; terms over tokens
need the same tokens (`token_alignment`), and padded texts. Projections are trained, clipped and
checkpointed with the student and left behind when it is saved.

References: Romero et al. 2015, arXiv:1412.6550 (hints); Jiao et al. 2020, arXiv:1909.10351, section
    3.1 (which layers); Sun et al. 2019, arXiv:1908.09355 (states of whole texts); Wang et al. 2021,
    arXiv:2012.15828 (relations).
Shapes: B batch, L length, S segments of packed texts (S = B if padded), D width, A answers, C
classes, K layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from data_contracts.errors import RecipeError
from tasks.modeling.heads.classifier import EncoderClassifier, EncoderWithHead
from tasks.training.auxiliary.layer_views import View, Wanted, over_heads, read_layers
from tasks.training.auxiliary.matching_config import AnyMatchingTerm, AttentionTerm, RelationTerm
from tasks.training.auxiliary.network import Reader, Reading
from tasks.training.auxiliary.objective import (
    Companion,
    CompanionObjective,
    Place,
    WeightedTerm,
)
from tasks.training.auxiliary.projections import Projection
from tasks.training.batching.batches import Step
from tasks.training.batching.examples import Batch
from tasks.training.losses.attention import (
    attention_probability_loss,
    attention_score_loss,
    relation_loss,
)
from tasks.training.losses.embeddings import contrastive_loss
from tasks.training.losses.geometry import angle_relation_loss, cka_loss, distance_relation_loss
from tasks.training.losses.hidden import hidden_cosine_loss, hidden_mse_loss
from tasks.training.optimization.schedules import value_at

_LOSSES: dict[str, Callable[..., Tensor]] = {
    "hidden_mse": hidden_mse_loss,
    "hidden_cosine": hidden_cosine_loss,
    "contrastive": contrastive_loss,
    "cka": cka_loss,
    "distances": distance_relation_loss,
    "angles": angle_relation_loss,
    "token_mse": hidden_mse_loss,
    "token_cosine": hidden_cosine_loss,
    "relations": relation_loss,
    "attention": attention_probability_loss,
    "attention_scores": attention_score_loss,
}


@dataclass(frozen=True)
class Comparison:
    """One view of a pair of layers under one term.

    Args:
        projection: numbers the bridge, if there is one.
        num_pairs: of layers under the term, which are averaged.
    """

    term: AnyMatchingTerm
    view: View
    student_layer: int
    teacher_layer: int
    projection: int | None
    num_pairs: int

    def loss(self, mine: Tensor, theirs: Tensor, mask_BL: Tensor | None, normalizer: int) -> Tensor:
        """Its part of the unweighted term; `mask_BL` tells the tokens, if they are compared."""
        loss, normalizer = _LOSSES[self.term.kind], normalizer * self.num_pairs
        if not self.term.reads_tokens:
            return loss(mine, theirs, normalizer=normalizer)
        assert mask_BL is not None, "tokens are compared in padded texts"
        options = {}
        if isinstance(self.term, RelationTerm):
            options["num_relation_heads"] = self.term.num_relation_heads
        elif isinstance(self.term, AttentionTerm) and mine.shape[1] != theirs.shape[1]:
            is_kl = self.term.kind == "attention"
            mine = over_heads(mine, mask_BL, distributions=is_kl)
            theirs = over_heads(theirs, mask_BL, distributions=is_kl)
        return loss(mine, theirs, mask_BL, normalizer=normalizer, **options)


class BridgeReader(Reader):
    """Reads the student's side of comparisons, over the bridges to its teacher's widths.

    Args:
        comparisons: whose views of the student are read out.
    """

    name: ClassVar[str] = "projections"

    def __init__(self, comparisons: Sequence[Comparison]) -> None:
        """Note which layers are read."""
        self.comparisons = tuple(comparisons)
        self.views = tuple((one.view, one.student_layer) for one in comparisons)
        # Rows that hold several texts are another layout than the teacher's, token for token.
        self.can_pack = not any(one.term.reads_tokens for one in comparisons)

    def read(self, part: Any, reading: Reading) -> tuple[Tensor, ...]:
        """What each comparison reads, projected where there is a bridge."""
        found: list[Tensor] = []
        for one in self.comparisons:
            view = reading.views[one.view, one.student_layer]
            found.append(view if one.projection is None else part[one.projection](view))
        return tuple(found)


@dataclass(frozen=True)
class MatchingObjective(CompanionObjective):
    """The layer terms.

    Args:
        teacher: frozen, in evaluation mode.
        comparisons: pairs of layers, each under its term; a term's pairs are averaged.
        lengths: tokens of each example, by which terms over tokens are divided.
    """

    meets: ClassVar[Place] = "weights"
    teacher: EncoderWithHead
    comparisons: tuple[Comparison, ...]
    lengths: np.ndarray = field(repr=False)

    def terms(
        self, read: Sequence[Tensor], logits_AC: Tensor, batch: Batch, step: Step
    ) -> Iterator[WeightedTerm]:
        """Each comparison under its term's name."""
        assert batch.teacher_texts is not None, "rows are mapped with the teacher's tokens"
        wanted: Wanted = {(one.view, one.teacher_layer): None for one in self.comparisons}
        with torch.no_grad():
            _, theirs = read_layers(self.teacher, batch.teacher_texts, wanted)
        num_texts = len(batch.teacher_texts.input_ids)
        num_tokens = int(self.lengths[step.rows].sum())
        mask_BL = None
        if batch.texts.attention_mask_BL is not None:
            mask_BL = batch.texts.attention_mask_BL.bool()
        for one, mine in zip(self.comparisons, read, strict=True):
            normalizer = num_tokens if one.term.reads_tokens else len(step.rows)
            # What follows the texts of a packed pass is filler.
            loss = one.loss(
                mine[:num_texts], theirs[one.view, one.teacher_layer], mask_BL, normalizer
            )
            weight = value_at(one.term.weight, step.number, total_steps=self.total_steps)
            yield WeightedTerm(one.term.title, weight * loss, loss.detach())

    def to(self, device: torch.device) -> MatchingObjective:
        """The same with its teacher on `device`."""
        return replace(self, teacher=self.teacher.to(device))

    def settings(self, step: int) -> dict[str, float]:
        """The weight of each layer term."""
        return {
            f"weight_{one.term.title}": value_at(
                one.term.weight, step, total_steps=self.total_steps
            )
            for one in self.comparisons
        }


def matched_layers(
    student: nn.Module,
    teacher: EncoderWithHead,
    terms: Sequence[AnyMatchingTerm],
    lengths: np.ndarray,
) -> Companion:
    """Bridges from `student` to `teacher`, which is frozen here, and the layer terms.

    No random number is drawn: bridges start as the identity.

    Args:
        lengths: tokens of each example.
    Raises: RecipeError if a layer is not there, or one of the two has not what a term compares.
    """
    assert isinstance(student, EncoderWithHead), "students are encoders with a head"
    teacher.requires_grad_(False).eval()
    sizes = [model.backbone.config.num_hidden_layers for model in (student, teacher)]
    widths = [model.backbone.config.hidden_size for model in (student, teacher)]
    comparisons: list[Comparison] = []
    projections: list[Projection] = []
    for term in terms:
        _check_term(term, student, teacher, widths)
        pairs = term.pairs(*sizes)
        for mine, theirs in pairs:
            for view in _views(term):
                number = None
                if term.projects:
                    number = len(projections)
                    projections.append(Projection(*widths))
                comparisons.append(Comparison(term, view, mine, theirs, number, len(pairs)))
    bridges = nn.ModuleList(projections)
    objective = MatchingObjective(teacher, tuple(comparisons), lengths)
    return Companion(BridgeReader(comparisons), bridges, objective)


def _views(term: AnyMatchingTerm) -> tuple[View, ...]:
    """What a term compares of each pair of layers, added up."""
    if isinstance(term, RelationTerm):
        return term.vectors
    if isinstance(term, AttentionTerm):
        return ("scores",)
    return ("tokens",) if term.reads_tokens else ("text",)


def _check_term(
    term: AnyMatchingTerm,
    student: EncoderWithHead,
    teacher: EncoderWithHead,
    widths: Sequence[int],
) -> None:
    """Refuse a term that compares what one of the two does not have."""
    models = (student, teacher)
    if not term.reads_tokens and not all(isinstance(one, EncoderClassifier) for one in models):
        raise RecipeError(
            f"{term.title} compares text vectors, which a network over units, or one that reads "
            "the texts of a pair apart, does not have",
            rule="terms over texts are for networks that make one vector of what they read",
            remedy="compare tokens (token_mse, token_cosine, relations, attention), or leave the "
            "term out",
        )
    if term.reads_attention and not all(one.can_pack for one in models):
        names = [one.backbone.config.model_type for one in models if not one.can_pack]
        raise RecipeError(
            f"{term.title} compares attention, which {' and '.join(names)} computes in its own way",
            rule="attention is read where an encoder of transformers takes an attention function",
            remedy="compare states (token_mse, token_cosine), or leave the term out",
        )
    if isinstance(term, RelationTerm) and any(width % term.num_relation_heads for width in widths):
        raise RecipeError(
            f"{term.num_relation_heads} relation heads do not divide the widths {widths[0]} of the "
            f"student and {widths[1]} of the teacher",
            rule="vectors of all heads are cut into pieces of one size",
            remedy="set num_relation_heads to a divisor of both",
        )
