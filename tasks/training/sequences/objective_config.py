"""What a student of written texts is trained to match, as recipe fields. Light: imports no torch.

As `objective_config` for texts that are read, token by token: a blend of two terms, or a list.

    {alpha: 0.8, temperature: 2}   ═   terms:
                                         - {kind: kl, name: kd, weight: 0.8, temperature: 2}
                                         - {kind: hard, weight: 0.2}

Divergences are over the tokens that the teacher deems likeliest and all others together (see
`losses.topk`). `hard` is cross-entropy with the tokens of the target text; whose text that is says
`targets`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from tasks.training.objectives.config import (
    JSDTerm,
    KLTerm,
    ReverseKLTerm,
    SkewKLTerm,
    Term,
    TotalVariationTerm,
)
from tasks.training.optimization.schedules import Schedule, values_of


def _is_share(value: float | Schedule) -> float | Schedule:
    values = values_of(value)
    if not all(0 <= one <= 1 for one in values):
        raise ValueError(
            f"alpha is {' to '.join(f'{one:g}' for one in values)}, but as one part of two it must "
            "lie in [0, 1] at all times"
        )
    return value


Share = Annotated[float | Schedule, AfterValidator(_is_share)]


class TargetTextTerm(Term):
    """Cross-entropy with the tokens of the target text."""

    reads_teacher_logits: ClassVar[bool] = False
    kind: Literal["hard"] = Field(description="which loss; see tasks/training/losses")


TokenTerm = Annotated[
    TargetTextTerm | KLTerm | ReverseKLTerm | JSDTerm | SkewKLTerm | TotalVariationTerm,
    Field(discriminator="kind"),
]


def token_blend(
    alpha: float | Schedule, temperature: float | Schedule = 1.0
) -> tuple[TokenTerm, ...]:
    """alpha · T² · KL(teacher || student) + (1 - alpha) · CE(target text), token by token."""
    kd = KLTerm(kind="kl", name="kd", weight=alpha, temperature=temperature)
    return (kd, TargetTextTerm(kind="hard", weight=_rest_of(alpha)))


def _rest_of(alpha: float | Schedule) -> float | Schedule:
    if isinstance(alpha, Schedule):
        return alpha.model_copy(update={"start": 1 - alpha.start, "end": 1 - alpha.end})
    return 1 - alpha
