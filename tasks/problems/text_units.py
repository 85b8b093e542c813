"""Problems whose answers are read out of the units of a text: what their files share.

A unit is a word, or a character of a script without spaces (`corpus/units.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.problems.problem import Problem

if TYPE_CHECKING:
    from tasks.modeling.config import PairReading
    from tasks.modeling.heads.classifier import EncoderWithHead


class UnitProblem(Problem):
    """Hidden states of tokens → linear layer, C logits a unit."""

    def network(self, pairs: PairReading) -> type[EncoderWithHead]:
        """Encoder, dropout and a linear head on tokens; nothing is pooled."""
        del pairs
        from tasks.modeling.heads.token_heads import EncoderTokenClassifier

        return EncoderTokenClassifier
