"""Sentence embeddings: a sentence of one language is placed where the teacher places its meaning.

    row      text, parallel_text in the teacher's language; no label
    head     pooled hidden states → linear layer to the teacher's width, unit length
    loss     squared distance to the teacher's vector of the parallel text, contrast within a pass
    metrics  accuracy@1 and MRR of finding the parallel text among those of all rows, and back
    decode   the vector

The teacher's vectors are of unit length, as those of its models are used (their cosine is what they
were trained for), and so are the student's. What stands in other problems as C logits of a text are
here the D numbers of its vector.

References: Reimers & Gurevych 2020, arXiv:2004.09813 (a student learns the teacher's vectors from
    translations; there raw vectors, here of unit length).
Shapes: N rows, D width of the teacher's vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from tasks.problems.problem import IGNORE_INDEX, Answers, Distribution, TeacherOutput
from tasks.problems.whole_texts import WholeTextProblem, as_matrix

if TYPE_CHECKING:
    from tasks.modeling.config import PairReading
    from tasks.modeling.heads.classifier import EncoderWithHead

EMBEDDING = "embedding"
"""Column of the signals, and of tokens that were joined with them: the teacher's vectors."""


class SentenceEmbedding(WholeTextProblem):
    """One text, one vector."""

    name = "sentence_embedding"
    metrics = ("accuracy_at_1", "mrr")
    score_version = 2
    distribution: ClassVar[Distribution] = "vectors"
    signals_contract = "teacher_signals_sentence_embedding"
    signal_column = EMBEDDING

    def network(self, pairs: PairReading) -> type[EncoderWithHead]:
        """Encoder, pooling, dropout, and a linear head to `num_labels` numbers, normalised."""
        del pairs
        from tasks.modeling.heads.classifier import EncoderEmbedder

        return EncoderEmbedder

    def answers(self, table: pa.Table, *, num_labels: int) -> Answers:
        """The teacher's vectors (N, D) where rows were joined with them, otherwise nothing."""
        del num_labels
        if EMBEDDING in table.column_names:
            return Answers(None, as_matrix(table[EMBEDDING]))
        return Answers(None, np.full(len(table), IGNORE_INDEX, dtype=np.int64))

    def soft_targets(
        self, table: pa.Table, signals: pa.Table, answers: Answers, *, order: Sequence[int]
    ) -> tuple[np.ndarray, Answers]:
        """The teacher's vectors; there are no classes to bring into order."""
        del table, order
        return as_matrix(signals[EMBEDDING]), answers

    def decisions(self, from_teacher: TeacherOutput) -> np.ndarray:
        """None: a vector is no class."""
        return np.full(len(from_teacher.table), IGNORE_INDEX, dtype=np.int64)

    def score(
        self, table: pa.Table, logits: np.ndarray, answers: Answers, *, labels: Sequence[str]
    ) -> dict[str, float]:
        """`accuracy_at_1` and `mrr`, each the mean of both directions, and `loss`.

        That is the mean squared distance to the teacher's vectors, in [0, 4]. Rows with one vector
        of the teacher are translations of one sentence: none of them is in the others' way, and
        the sentence is searched for once, as in the evaluation.
        """
        from tasks.metrics.scores.retrieval import alike, both_ways_of_sentences, retrieval_scores

        del table, labels
        teacher = answers.labels
        ranks = both_ways_of_sentences(logits, teacher, alike(teacher))
        distances = np.square(logits.astype(np.float64) - teacher).sum(axis=1)
        return {**retrieval_scores(ranks), "loss": float(distances.mean())}
