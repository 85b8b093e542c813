"""One Unicode form for every text, with nothing invisible in it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_contracts.artifacts import Frozen


class NormalizationConfig(Frozen):
    """How texts are brought into one form before any rule looks at them."""

    unicode_form: Literal["NFC", "NFKC"] = Field(
        default="NFC",
        description="NFC keeps every visible difference; NFKC also folds full-width letters, "
        "ligatures and superscripts into their plain form (x² becomes x2)",
    )
    repair_encoding: bool = Field(
        default=False,
        description="undo wrong decodings with ftfy (schÃ¶n becomes schön); off, because it guesses",
    )
