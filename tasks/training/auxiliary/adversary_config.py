"""A domain adversary, as recipe fields. Light: imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from data_contracts.artifacts import Frozen
from data_contracts.errors import RecipeError

Groups = Literal["language", "role"]


class AdversaryConfig(Frozen):
    """A classifier that tells where a text comes from; the encoder learns to leave it guessing.

    References: Ganin et al. 2016, arXiv:1505.07818, section 4 (gradient reversal), 5.2.2 (lambda).
    """

    groups: Groups = Field(
        "language",
        description="what the adversary tells apart: the language a text is read in, or its role "
        "(train rows of one domain against transfer rows of another)",
    )
    max_lambda: float = Field(
        1.0, gt=0, le=100, description="weight of the reversed gradient at the end of training"
    )
    gamma: float = Field(
        10.0,
        gt=0,
        le=1000,
        description="how fast that weight rises from 0: max_lambda * (2 / (1 + exp(-gamma * p)) - "
        "1) after the share p of all steps",
    )
    hidden_size: int = Field(100, ge=1, le=4096, description="width of the adversary's one layer")

    def strength(self, step: int, *, total_steps: int) -> float:
        """Lambda at step `step`, from 0: 0 there, close to `max_lambda` at the last."""
        progress = step / max(1, total_steps - 1)
        return self.max_lambda * (2 / (1 + math.exp(-self.gamma * progress)) - 1)


def lacks_vectors(network: str) -> RecipeError:
    """What is said where a `network` has no text vectors."""
    return RecipeError(
        f"an adversary reads text vectors, which a {network} does not have",
        rule="adversary is for problems with one answer a text",
        remedy="leave adversary out",
    )


def lacks_groups(groups: Groups, found: Sequence[str]) -> RecipeError:
    """What is said where all rows are of the one group `found`."""
    return RecipeError(
        f"all rows that are trained on have the {groups} {', '.join(found)}",
        rule="an adversary tells groups apart: two at least",
        remedy=f"train on rows of another {groups}, or leave adversary out",
    )


def noted_groups(
    adversary: AdversaryConfig | None, language_temperature: float | None
) -> Groups | None:
    """What rows must tell of where they come from, for an adversary or to draw languages.

    Raises: RecipeError if one wants roles and the other languages.
    """
    if language_temperature is None:
        return adversary.groups if adversary else None
    if adversary and adversary.groups == "role":
        raise RecipeError(
            "an adversary of roles and training.language_temperature are both given",
            rule="of each row one thing is noted: its language or its role",
            remedy="leave one of them out",
        )
    return "language"
