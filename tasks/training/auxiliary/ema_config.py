"""A student's own running average as its teacher, as recipe fields. Light: imports no torch."""

from __future__ import annotations

from pydantic import Field

from data_contracts.artifacts import Frozen
from tasks.training.objectives.config import Temperature, Weight


class EMAConfig(Frozen):
    """What the student learns from the running average of its own weights.

    References: Tarvainen & Valpola 2017, arXiv:1703.01780.
    """

    decay: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="what the average keeps of itself each step: 0.99 looks back some 100 steps",
    )
    weight: Weight = Field(
        1.0, description="what KL(average || student) is multiplied by: number or schedule"
    )
    temperature: Temperature = Field(
        1.0, description="softens both distributions; unitless, number or schedule"
    )
