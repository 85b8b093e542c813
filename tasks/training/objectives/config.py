"""What a student is trained to match, as recipe fields. Light: imports no torch.

The short form is a blend of two terms, the long form a list of terms; both become `loss_terms`.

    {alpha: 0.8, temperature: 2}   ═   terms:
                                         - {kind: kl, name: kd, weight: 0.8, temperature: 2}
                                         - {kind: hard, weight: 0.2, labels: teacher}

The loss is the sum of weight × term, just as written: no weight is renormalised, and each term is
reported unweighted, beside its weight. A weight or a temperature is a number or a `Schedule`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from data_contracts.artifacts import Frozen
from tasks.training.optimization.schedules import Schedule, values_of

LabelSource = Literal["teacher", "gold", "source"]
_MAX_WEIGHT = 1e4
_MAX_TEMPERATURE = 100.0
_KIND = "which loss; see tasks/training/losses"
_LABELS = (
    "class labels: the teacher's choice, or the rows' own (gold: of all rows; source: of rows read "
    "in the source language)"
)


def _is_weight(value: float | Schedule) -> float | Schedule:
    if not all(0 <= one <= _MAX_WEIGHT for one in values_of(value)):
        raise ValueError(f"a weight must lie in [0, {_MAX_WEIGHT:g}] at all times")
    return value


def _is_temperature(value: float | Schedule) -> float | Schedule:
    if not all(0 < one <= _MAX_TEMPERATURE for one in values_of(value)):
        raise ValueError(
            f"a temperature divides the logits: it must lie in (0, {_MAX_TEMPERATURE:g}] at all "
            "times"
        )
    return value


Weight = Annotated[float | Schedule, AfterValidator(_is_weight)]
Temperature = Annotated[float | Schedule, AfterValidator(_is_temperature)]
TermName = Annotated[
    str,
    Field(
        pattern=r"^([a-z][a-z0-9_]*)?$",
        description="under which the term is reported, as loss_<name>; its kind if not given",
    ),
]


class Term(Frozen):
    """What all loss terms share."""

    reads_teacher_logits: ClassVar[bool] = True
    name: TermName = ""
    weight: Weight = Field(1.0, description="what the term is multiplied by: number or schedule")

    @property
    def title(self) -> str:
        """The name it is reported under."""
        return self.name or dict(self)["kind"]

    @property
    def label_source(self) -> LabelSource | None:
        """Whose hard labels the term reads, if any."""
        return getattr(self, "labels", None)

    def parameters(self) -> dict[str, Any]:
        """Those fields that only this kind has, as arguments of its loss."""
        shared = {*Term.model_fields, "kind", "temperature", "labels"}
        return {name: value for name, value in self if name not in shared}


class SoftenedTerm(Term):
    """A term that softens both distributions before it compares them."""

    temperature: Temperature = Field(
        1.0, description="divides all logits of the term; unitless, number or schedule"
    )


class HardTerm(Term):
    """Cross-entropy with hard labels."""

    reads_teacher_logits: ClassVar[bool] = False
    kind: Literal["hard"] = Field(description=_KIND)
    labels: LabelSource = Field("teacher", description=_LABELS)


class KLTerm(SoftenedTerm):
    """KL(teacher || student), Hinton's distillation; with several labels a text, of each yes/no."""

    kind: Literal["kl"] = Field(description=_KIND)


class ReverseKLTerm(SoftenedTerm):
    """KL(student || teacher)."""

    kind: Literal["reverse_kl"] = Field(description=_KIND)


class JSDTerm(SoftenedTerm):
    """Generalised Jensen-Shannon divergence."""

    kind: Literal["jsd"] = Field(description=_KIND)
    beta: float = Field(
        0.5,
        ge=0,
        le=1,
        description="the teacher's part of the mixture: 0 is kl, 1 reverse_kl (the limits are 0)",
    )


class SkewKLTerm(SoftenedTerm):
    """KL to a mixture with a little of the other side: bounded however wrong the student is."""

    kind: Literal["skew_kl", "skew_reverse_kl"] = Field(description=_KIND)
    skew: float = Field(0.1, gt=0, lt=1, description="how much of the mixture is the first side")


class TotalVariationTerm(SoftenedTerm):
    """Half the L1 distance of the distributions."""

    kind: Literal["total_variation"] = Field(description=_KIND)


class SoftCrossEntropyTerm(SoftenedTerm):
    """Cross-entropy with soft targets: the gradient of kl, with the teacher's entropy as floor."""

    kind: Literal["soft_cross_entropy"] = Field(description=_KIND)


class LogitMSETerm(Term):
    """Squared difference of the logits; T² cancels any temperature, so that there is none."""

    kind: Literal["logit_mse"] = Field(description=_KIND)
    centered: bool = Field(
        False, description="compare differences between classes only, all that a softmax sees"
    )


class StandardisedTerm(SoftenedTerm):
    """KL of logits brought to mean 0 and standard deviation 1: their shape, not their scale."""

    kind: Literal["standardised"] = Field(description=_KIND)


class DecoupledTerm(SoftenedTerm):
    """Decoupled KD: the true class against the rest, and the rest among themselves."""

    kind: Literal["decoupled"] = Field(description=_KIND)
    labels: LabelSource = Field(
        "teacher", description=f"{_LABELS} (where a row has none, the teacher's)"
    )
    alpha: float = Field(1.0, ge=0, le=1e3, description="weight of the true class against the rest")
    beta: float = Field(8.0, ge=0, le=1e3, description="weight of the rest among themselves")


class DISTTerm(SoftenedTerm):
    """Correlations: of the classes of a text (beta), of the texts of a pass in a class (gamma)."""

    kind: Literal["dist"] = Field(description=_KIND)
    beta: float = Field(1.0, ge=0, le=1e3, description="weight of the correlation over classes")
    gamma: float = Field(1.0, ge=0, le=1e3, description="weight of the correlation over texts")


class EmbeddingMSETerm(Term):
    """Squared distance of the student's sentence vector from the teacher's; 2 - 2 cos."""

    kind: Literal["embedding_mse"] = Field(description=_KIND)


class EmbeddingContrastTerm(Term):
    """InfoNCE: which of the pass's teacher vectors belongs to the student's?"""

    kind: Literal["embedding_contrast"] = Field(description=_KIND)
    similarity_temperature: float = Field(
        0.05, gt=0, le=10, description="divides cosines before the softmax over the pass's texts"
    )


LossTerm = Annotated[
    HardTerm
    | KLTerm
    | ReverseKLTerm
    | JSDTerm
    | SkewKLTerm
    | TotalVariationTerm
    | SoftCrossEntropyTerm
    | LogitMSETerm
    | StandardisedTerm
    | DecoupledTerm
    | DISTTerm
    | EmbeddingMSETerm
    | EmbeddingContrastTerm,
    Field(discriminator="kind"),
]


def blend(
    alpha: float, temperature: float = 1.0, *, labels: LabelSource = "teacher"
) -> tuple[LossTerm, ...]:
    """alpha · T² · KL(teacher || student) + (1 - alpha) · CE(hard labels), without idle terms."""
    kd = KLTerm(kind="kl", name="kd", weight=alpha, temperature=temperature)
    hard = HardTerm(kind="hard", weight=1 - alpha, labels=labels)
    return tuple(term for term in (kd, hard) if term.weight)


def check_one_form(given: Collection[str], short_form: Sequence[str], num_terms: int) -> None:
    """Raise ValueError if a loss is given as terms and by fields of its short form, too.

    Args:
        given: names of the fields that were given.
    """
    short = [name for name in short_form if name in given]
    if num_terms and short:
        raise ValueError(
            f"{', '.join(short)} and {num_terms} terms are both given, but they are two forms of "
            "one loss: leave the terms out, or write the first as terms of kind kl and hard (and "
            "with --set, replace the whole section: 'distillation={terms: [...]}')"
        )


def check_terms(terms: Sequence[Term]) -> None:
    """Raise ValueError if no term has a weight, or two are reported under one name."""
    if terms and not any(max(values_of(term.weight)) > 0 for term in terms):
        raise ValueError("all terms have weight 0: nothing would be learned")
    counts = Counter(term.title for term in terms)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(
            f"several terms are reported as {', '.join(twice)}: give each a name of its own"
        )


class ObjectiveConfig(Frozen):
    """The distillation loss: a blend of soft and hard targets, or a list of terms."""

    alpha: float = Field(
        0.5, ge=0, le=1, description="weight of the soft targets; 1 - alpha goes to hard labels"
    )
    temperature: float = Field(
        2.0, gt=0, le=100, description="softens both distributions; unitless, 1 leaves them as is"
    )
    hard_labels: Literal["teacher", "gold", "source", "none"] = Field(
        "teacher",
        description="hard labels of the cross-entropy: the teacher's choice, the rows' own labels "
        "(gold: of all rows; source: of rows read in the source language), or none (then alpha "
        "must be 1)",
    )
    terms: tuple[LossTerm, ...] = Field(
        default=(), description="weighted loss terms, instead of alpha, temperature and hard_labels"
    )

    @model_validator(mode="after")
    def _one_form(self) -> ObjectiveConfig:
        check_one_form(self.model_fields_set, _SHORT_FORM, len(self.terms))
        return self

    @model_validator(mode="after")
    def _something_to_learn(self) -> ObjectiveConfig:
        if not self.terms and self.hard_labels == "none" and self.alpha < 1:
            raise ValueError(
                f"alpha is {self.alpha} but hard_labels is 'none': set alpha to 1 or name labels"
            )
        check_terms(self.terms)
        return self

    @model_validator(mode="after")
    def _one_label_a_row(self) -> ObjectiveConfig:
        if len(sources := {term.label_source for term in self.terms} - {None}) > 1:
            raise ValueError(
                f"terms read labels of {' and '.join(sorted(map(str, sources)))}, but a row is "
                "trained with one label: choose the same for all"
            )
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_used(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Written as one of the two forms, so that it can be read again, and keys stay apart."""
        unused = _SHORT_FORM if self.terms else ("terms",)
        return {name: value for name, value in serialize(self).items() if name not in unused}

    @property
    def loss_terms(self) -> tuple[LossTerm, ...]:
        """The terms of either form."""
        if self.terms:
            return self.terms
        labels = "teacher" if self.hard_labels == "none" else self.hard_labels
        return blend(self.alpha, self.temperature, labels=labels)

    @property
    def label_source(self) -> Literal["teacher", "gold", "source", "none"]:
        """Whose hard labels training reads."""
        if not self.terms:
            return self.hard_labels
        for term in self.terms:
            if term.label_source:
                return term.label_source
        return "none"

    @property
    def reads_teacher_logits(self) -> bool:
        """Whether a term compares the student's logits with a teacher's."""
        return any(term.reads_teacher_logits for term in self.loss_terms)

    @property
    def needs_teacher(self) -> bool:
        """Whether training reads teacher signals at all."""
        return self.reads_teacher_logits or self.label_source == "teacher"


_SHORT_FORM = ("alpha", "temperature", "hard_labels")
