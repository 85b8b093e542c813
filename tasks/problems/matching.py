"""Matching: two texts, one of C classes (paraphrase or not, entailed or not, answers or not).

    row      text, text_b, label; optional parallel_text, parallel_text_b in the teacher's language
    head     both texts in one sequence, pooled → linear layer, C logits (a cross-encoder)
    loss     soft targets (KL) and hard labels (cross-entropy) over C
    metrics  accuracy, macro-F1, cross-entropy
    decode   the class of the largest logit, with its softmax probability

The pair is one sequence with the tokenizer's own separators, so everything after tokenization is
text classification.
"""

from __future__ import annotations

from tasks.problems.text_classification import TextClassification


class Matching(TextClassification):
    """Two texts, one class."""

    name = "matching"
