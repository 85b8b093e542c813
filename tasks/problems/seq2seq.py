"""What problems have in common whose answer is a text: translation, summarization, generation.

    row      source text; target text, where it is known
    align    teacher and student score the same target text: token by token if they share a
             vocabulary (word-level distillation), as a whole text if not (sequence-level)
    network  encoder-decoder with tied embeddings, or one read from a folder
    loss     soft targets and hard labels over V, mean over target tokens
    metrics  of written texts against their references
    decode   greedy or beam search, detokenized

The three differ in what makes a text good and in how texts are written by default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tasks.modeling.encoder_decoder.config import DecodingConfig

if TYPE_CHECKING:
    from tasks.metrics.statistics import Measure, Statistics


class Seq2SeqProblem(ABC):
    """One problem type whose answer is a text. Stateless: kept in `SEQ2SEQ_PROBLEMS`."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    """Validation figures beside `loss`, the primary one first; larger is better."""
    decoding: ClassVar[DecodingConfig]
    """How a text is written unless the recipe says otherwise."""
    token_columns: ClassVar[tuple[str, ...]] = ("example_id", "input_ids", "target_ids")
    tokens_contract: ClassVar[str] = "tokens_seq2seq"
    signals_contract: ClassVar[str] = "teacher_signals_seq2seq"

    @abstractmethod
    def score(
        self, written: Sequence[str], references: Sequence[str], *, language: str
    ) -> dict[str, float]:
        """`metrics` of texts in `language` (a BCP-47 tag), fractions."""


def corpus_scores(
    measures: Sequence[Measure], statistics: Mapping[str, Statistics]
) -> dict[str, float]:
    """Scores over all texts, by metric, of what `tasks.metrics` counted in each of them."""
    return {
        measure.name: float(measure.score(np.asarray(statistics[measure.name].sum(axis=0))))
        for measure in measures
    }
