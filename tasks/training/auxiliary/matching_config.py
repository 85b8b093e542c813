"""Which layers of a student are compared with which of its teacher's, as recipe fields. No torch.

    student of 3 layers, teacher of 12    uniform   1-4  2-8  3-12
                                          last      3-12
                                          {last: 2}         2-11  3-12
                                          [[2, 6], [3, 12]]   just so

Layer 0 are the embeddings, layer i the output of the i-th Transformer layer. Terms over texts
compare one vector a text; terms over tokens need both networks to read the same tokens.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from data_contracts.artifacts import Frozen, WithLaterFields
from data_contracts.errors import RecipeError
from tasks.training.objectives.config import TermName, Weight

Layer = Annotated[int, Field(ge=0)]
Vectors = Literal["queries", "keys", "values"]
_LAYERS = (
    "pairs of layers (student's, teacher's), counted from 1; or every student layer against the "
    "teacher's at the same height (uniform), the topmost of both (last), or the k topmost of both, "
    "each against the one as far below the top ({last: k})"
)


class LastLayers(Frozen):
    """The topmost layers of both networks, paired in order: the top with the top.

    References: Sun et al. 2019, arXiv:1908.09355, section 3 (PKD-Last).
    """

    last: int = Field(
        ge=1, description="how many of the topmost layers are compared; both networks have as many"
    )


def _shortest(
    layers: Literal["uniform", "last"] | LastLayers | tuple[tuple[int, int], ...],
) -> Literal["uniform", "last"] | LastLayers | tuple[tuple[int, int], ...]:
    """`{last: 1}` as `last`: what means the same has one key."""
    return "last" if layers == LastLayers(last=1) else layers


Pairs = Annotated[
    Literal["uniform", "last"] | LastLayers | tuple[tuple[Layer, Layer], ...],
    AfterValidator(_shortest),
]


class MatchingTerm(WithLaterFields):
    """What all comparisons of layers share."""

    later_fields: ClassVar[tuple[str, ...]] = ("name",)

    reads_tokens: ClassVar[bool] = True
    reads_attention: ClassVar[bool] = False
    projects: ClassVar[bool] = False
    name: TermName = ""
    weight: Weight = Field(1.0, description="what the term is multiplied by: number or schedule")

    @property
    def title(self) -> str:
        """The name it is reported under, as loss_<name>."""
        return self.name or dict(self)["kind"]

    @model_validator(mode="after")
    def _something_is_compared(self) -> MatchingTerm:
        layers = dict(self)["layers"]
        if layers == ():
            raise ValueError("layers is empty: name at least one pair")
        pairs = layers if isinstance(layers, tuple) else ()
        if self.reads_attention and any(0 in pair for pair in pairs):
            raise ValueError("layer 0 are the embeddings, which attend to nothing: count from 1")
        return self

    @property
    def student_layers(self) -> int:
        """How many layers a student must have at least."""
        return self._needed(0)

    @property
    def teacher_layers(self) -> int:
        """How many layers a teacher must have at least."""
        return self._needed(1)

    def _needed(self, side: int) -> int:
        layers: Pairs = dict(self)["layers"]
        if isinstance(layers, tuple):
            return max(pair[side] for pair in layers)
        return layers.last if isinstance(layers, LastLayers) else 1

    def pairs(self, student: int, teacher: int) -> tuple[tuple[int, int], ...]:
        """(student layer, teacher layer) of networks with so many layers.

        Raises: RecipeError if a layer is not there, or is none that the term can compare.
        """
        layers: Pairs = dict(self)["layers"]
        if isinstance(layers, tuple):
            return _explicit(layers, student, teacher)
        if layers == "uniform":
            return self._uniform(student, teacher)
        count = layers.last if isinstance(layers, LastLayers) else 1
        if count > min(student, teacher):
            raise RecipeError(
                f"{self.title} compares the last {count} layers, but the student has {student} and "
                f"the teacher {teacher}",
                rule="layers: {last: k} pairs the k topmost layers of both, one by one",
                remedy=f"set last to {min(student, teacher)} at most, or use layers: uniform",
            )
        return tuple((student - below, teacher - below) for below in reversed(range(count)))

    def _uniform(self, student: int, teacher: int) -> tuple[tuple[int, int], ...]:
        pairs = tuple((layer, round(layer * teacher / student)) for layer in range(1, student + 1))
        if self.reads_attention and pairs[0][1] == 0:
            raise RecipeError(
                f"{self.title} compares layer 1 of the student's {student} at the height of the "
                f"embeddings of the teacher, which has {teacher}",
                rule="layer 0 are the embeddings, which attend to nothing",
                remedy="name pairs of layers, or use layers: last",
            )
        return pairs


def _explicit(
    layers: tuple[tuple[int, int], ...], student: int, teacher: int
) -> tuple[tuple[int, int], ...]:
    for mine, theirs in layers:
        if mine > student or theirs > teacher:
            raise RecipeError(
                f"a layer term compares layer {mine} of the student with layer {theirs} of the "
                f"teacher, which have {student} and {teacher}",
                rule="layers are counted from 1; 0 are the embeddings",
                remedy="correct student.matching",
            )
    return layers


class LayerTerm(MatchingTerm):
    """One comparison of text vectors: the pooled states of layers, a vector a text.

    Texts are compared, not tokens, so student and teacher may read another language with another
    tokenizer.
    """

    reads_tokens: ClassVar[bool] = False
    kind: Literal["hidden_mse", "hidden_cosine", "contrastive", "cka", "distances", "angles"] = (
        Field(
            description="squared difference, 1 - cosine or in-batch contrast of projected states; "
            "or how the texts of a pass lie to one another, whatever the widths (CKA, RKD)"
        )
    )
    layers: Pairs = Field("uniform", description=_LAYERS)

    @property
    def projects(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the student's states are brought to the teacher's width first."""
        return self.kind in ("hidden_mse", "hidden_cosine", "contrastive")


class TokenStateTerm(MatchingTerm):
    """One comparison of the states of each token, the student's brought to the teacher's width.

    References: Jiao et al. 2020, arXiv:1909.10351, equation 8; Sanh et al. 2019, arXiv:1910.01108,
        section 2 (cosine).
    """

    projects: ClassVar[bool] = True
    kind: Literal["token_mse", "token_cosine"] = Field(
        description="squared difference or 1 - cosine of each token's projected state"
    )
    layers: Pairs = Field("uniform", description=_LAYERS)


class RelationTerm(MatchingTerm):
    """KL of self-attention relations: how queries lie to queries, keys to keys, values to values.

    Widths and numbers of heads may differ: vectors of all heads are joined and cut anew.

    References: Wang et al. 2021, arXiv:2012.15828, section 3.1; for large teachers a layer above
        the middle is better than the last.
    """

    reads_attention: ClassVar[bool] = True
    kind: Literal["relations"] = Field(
        description="KL of the relations of queries, keys and values, added up (MiniLMv2)"
    )
    layers: Pairs = Field("last", description=_LAYERS)
    vectors: tuple[Vectors, ...] = Field(
        ("queries", "keys", "values"), min_length=1, description="whose relations are compared"
    )
    num_relation_heads: int = Field(
        12, ge=1, le=1024, description="pieces that vectors are cut into; divides both widths"
    )

    @model_validator(mode="after")
    def _each_once(self) -> RelationTerm:
        if len(set(self.vectors)) != len(self.vectors):
            raise ValueError(f"vectors are {', '.join(self.vectors)}: each may be named once")
        return self


class AttentionTerm(MatchingTerm):
    """Where tokens look. Of networks with other numbers of heads the means over heads are compared.

    References: Wang et al. 2020, arXiv:2002.10957, equation 6 (distributions); Jiao et al. 2020,
        arXiv:1909.10351, equation 7 (scores).
    """

    reads_attention: ClassVar[bool] = True
    kind: Literal["attention", "attention_scores"] = Field(
        description="KL of attention distributions, or squared difference of the scores before the "
        "softmax"
    )
    layers: Pairs = Field("last", description=_LAYERS)


AnyMatchingTerm = Annotated[
    LayerTerm | TokenStateTerm | RelationTerm | AttentionTerm, Field(discriminator="kind")
]
"""What a recipe may give in `student.matching`."""
