"""Mutual learning, as recipe fields. Light: imports no torch."""

from __future__ import annotations

from pydantic import Field

from data_contracts.artifacts import Frozen
from tasks.training.objectives.config import Temperature, Weight


class MutualTerm(Frozen):
    """What each peer learns from the others: the mean over them of KL(other || peer)."""

    weight: Weight = Field(
        1.0, description="what the mutual term of each peer is multiplied by: number or schedule"
    )
    temperature: Temperature = Field(
        1.0, description="softens both distributions; unitless, number or schedule; 1 in the paper"
    )
