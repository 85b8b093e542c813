"""Matching: two texts, one of C classes (paraphrase or not, entailed or not, answers or not).

    row      text, text_b, label; optional parallel_text, parallel_text_b in the teacher's language
    head     pairs: together   both texts in one sequence, pooled → linear layer (a cross-encoder)
             pairs: apart      each text by itself, their vectors compared (a bi-encoder)
    loss     soft targets (KL) and hard labels (cross-entropy) over C
    metrics  accuracy, macro-F1, cross-entropy
    decode   the class of the largest logit, with its softmax probability

The pair is one row of token ids with separators of the tokenizer's own template, or with those that
tell a bi-encoder where the second text begins; so everything after tokenization is text
classification, whoever reads the pair in which way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.problems.text_classification import TextClassification

if TYPE_CHECKING:
    from tasks.modeling.config import PairReading
    from tasks.modeling.heads.classifier import EncoderWithHead


class Matching(TextClassification):
    """Two texts, one class."""

    name = "matching"

    def network(self, pairs: PairReading) -> type[EncoderWithHead]:
        """A cross-encoder, or a bi-encoder where pairs are read apart."""
        from tasks.modeling.heads.classifier import EncoderClassifier
        from tasks.modeling.heads.pair_encoder import PairEncoder

        return EncoderClassifier if pairs == "together" else PairEncoder
