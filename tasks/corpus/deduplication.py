"""Rules that look at pairs of rows: copies, contradictions, and leaks into the evaluation."""

from __future__ import annotations

from pydantic import Field

from data_contracts.artifacts import Frozen


class DeduplicationConfig(Frozen):
    """Which rows are copies of each other, and which would leak evaluation texts into training."""

    near_duplicate_threshold: float | None = Field(
        default=None,
        gt=0.5,
        le=1,
        description="drop rows of one role whose character n-grams overlap with an earlier row's "
        "by at least this Jaccard similarity; not set: only exact copies are dropped",
    )
    leak_threshold: float | None = Field(
        default=0.9,
        gt=0.5,
        le=1,
        description="set aside train and transfer rows this similar (Jaccard of character n-grams) "
        "to a validation or test text; null: only exact copies count as leaks",
    )
