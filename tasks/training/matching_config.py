"""Which layers of a student are compared with which of its teacher's, as recipe fields. No torch.

    student of 3 layers, teacher of 12    uniform   1-4  2-8  3-12
                                          last      3-12
                                          [[2, 6], [3, 12]]   just so

Layer 0 are the embeddings, layer i the output of the i-th Transformer layer.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen
from data_contracts.errors import RecipeError
from tasks.training.objective_config import Weight

Layer = Annotated[int, Field(ge=0)]


class LayerTerm(Frozen):
    """One comparison of text vectors: the pooled states of layers, a vector a text.

    Texts are compared, not tokens, so student and teacher may read another language with another
    tokenizer.
    """

    kind: Literal["hidden_mse", "hidden_cosine", "contrastive", "cka", "distances", "angles"] = (
        Field(
            description="squared difference, 1 - cosine or in-batch contrast of projected states; "
            "or how the texts of a pass lie to one another, whatever the widths (CKA, RKD)"
        )
    )
    weight: Weight = Field(1.0, description="what the term is multiplied by: number or schedule")
    layers: Literal["uniform", "last"] | tuple[tuple[Layer, Layer], ...] = Field(
        "uniform",
        description="pairs of layers (student's, teacher's), counted from 1; or every student "
        "layer against the teacher's at the same height (uniform), or the topmost two (last)",
    )

    @model_validator(mode="after")
    def _something_is_compared(self) -> LayerTerm:
        if self.layers == ():
            raise ValueError("layers is empty: name at least one pair")
        return self

    @property
    def projects(self) -> bool:
        """Whether the student's states are brought to the teacher's width first."""
        return self.kind in ("hidden_mse", "hidden_cosine", "contrastive")

    def pairs(self, student: int, teacher: int) -> tuple[tuple[int, int], ...]:
        """(student layer, teacher layer) of networks with so many layers.

        Raises: RecipeError if a layer is not there.
        """
        if self.layers == "last":
            return ((student, teacher),)
        if self.layers == "uniform":
            return tuple(
                (layer, round(layer * teacher / student)) for layer in range(1, student + 1)
            )
        for mine, theirs in self.layers:
            if mine > student or theirs > teacher:
                raise RecipeError(
                    f"a layer term compares layer {mine} of the student with layer {theirs} of the "
                    f"teacher, which have {student} and {teacher}",
                    rule="layers are counted from 1; 0 are the embeddings",
                    remedy="correct student.matching",
                )
        return self.layers
