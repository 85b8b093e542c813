"""Validation and test rows by content hash, for languages that bring none."""

from __future__ import annotations

from pydantic import Field

from data_contracts.artifacts import Frozen


class SplittingConfig(Frozen):
    """How validation and test rows are cut where the sources bring none."""

    validation_share: float = Field(
        default=0.1, gt=0, lt=0.5, description="share of a language's labelled rows, 0 to 0.5"
    )
    test_share: float = Field(
        default=0.1, gt=0, lt=0.5, description="share of a language's labelled rows, 0 to 0.5"
    )
    seed: int = Field(default=0, ge=0, description="another seed gives another cut")
