"""Validation and test rows by content hash, for languages that bring none.

A row's place depends on its language, its text and the seed only: appending data never moves a row
from test to training, and copies of a text always land together.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from data_contracts.artifacts import Frozen
from tasks.corpus.selection.deduplication import mixed
from tasks.runtime.seeding import derive_seed

STAYS, VALIDATION, TEST = 0, 1, 2


class SplittingConfig(Frozen):
    """How validation and test rows are cut where the sources bring none."""

    validation_share: float = Field(
        default=0.1, gt=0, lt=0.5, description="share of a language's labelled rows, 0 to 0.5"
    )
    test_share: float = Field(
        default=0.1, gt=0, lt=0.5, description="share of a language's labelled rows, 0 to 0.5"
    )
    seed: int = Field(default=0, ge=0, description="another seed gives another cut")


def cut(text_hashes: np.ndarray, config: SplittingConfig) -> np.ndarray:
    """STAYS, VALIDATION or TEST for each text.

    Args:
        text_hashes: uint64, shape (rows,): language and text.
    Returns: int8, shape (rows,).
    """
    salt = np.uint64(derive_seed(config.seed, "split"))
    # The upper 53 bits are a uniform double in [0, 1).
    places = (mixed(text_hashes ^ salt) >> np.uint64(11)) * 2.0**-53
    result = np.full(len(text_hashes), STAYS, dtype=np.int8)
    result[places < config.test_share + config.validation_share] = VALIDATION
    result[places < config.test_share] = TEST
    return result
