"""What the teacher's signals looked like, and how far the student followed them.

Low agreement with a confident teacher is a student that did not learn; high agreement with wrong
pseudo-labels is a student that learned the teacher's mistakes. The scores alone show neither.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_contracts.evaluation import Diagnostics
from tasks.metrics.calibration import entropy, top_probabilities
from tasks.metrics.scores.classification import FloatArray, IntArray


def diagnose(
    teacher_logits: FloatArray,
    student_logits: FloatArray,
    label_names: Sequence[str],
    *,
    rows: str,
    pseudo_label_accuracy: float | None,
) -> Diagnostics:
    """Agreement of teacher and student on the same rows, and the teacher's certainty there.

    Args:
        teacher_logits: (N, C), N >= 1.
        student_logits: (N, C), the same rows in the same order.
        label_names: C names.
        rows: which rows these are, in words.
        pseudo_label_accuracy: see `pseudo_label_accuracy`.

    Raises:
        ValueError: if the shapes differ.
    """
    if teacher_logits.shape != student_logits.shape:
        raise ValueError(f"logits differ: {teacher_logits.shape} and {student_logits.shape}")
    teacher_choice, confidence = top_probabilities(teacher_logits)
    same = teacher_choice == student_logits.argmax(axis=1)
    return Diagnostics(
        rows=rows,
        num_rows=len(same),
        agreement=float(same.mean()),
        agreement_by_class={
            label_names[int(chosen)]: float(same[teacher_choice == chosen].mean())
            for chosen in np.unique(teacher_choice)
        },
        teacher_entropy_nats=float(entropy(teacher_logits).mean()),
        teacher_confidence=float(confidence.mean()),
        pseudo_label_accuracy=pseudo_label_accuracy,
    )


def diagnose_sets(
    teacher_logits: FloatArray,
    from_teacher: IntArray,
    said: IntArray,
    label_names: Sequence[str],
    *,
    rows: str,
    pseudo_label_accuracy: float | None,
) -> Diagnostics:
    """As `diagnose`, of any number of classes a row, each a yes/no decision.

    A row agrees where the whole set is the same; a class, of the rows for which the teacher chose
    it, where the student chose it too.

    Args:
        teacher_logits: (N, C), N >= 1: of the probability of yes.
        from_teacher: what the teacher decided, 0 and 1, (N, C).
        said: what the student decided, the same rows in the same order.

    Raises:
        ValueError: if the shapes differ.
    """
    if not teacher_logits.shape == from_teacher.shape == said.shape:
        raise ValueError(
            f"shapes differ: {teacher_logits.shape}, {from_teacher.shape}, {said.shape}"
        )
    # Yes and no as two classes: their softmax is the sigmoid.
    both = np.stack([teacher_logits, np.zeros_like(teacher_logits)], axis=-1).reshape(-1, 2)
    _, confidence = top_probabilities(both)
    chosen = from_teacher == 1
    return Diagnostics(
        rows=rows,
        num_rows=len(from_teacher),
        decided="set of classes",
        agreement=float((from_teacher == said).all(axis=1).mean()),
        agreement_by_class={
            label_names[which]: float(said[chosen[:, which], which].mean())
            for which in np.flatnonzero(chosen.any(axis=0)).tolist()
        },
        teacher_entropy_nats=float(entropy(both).mean()),
        teacher_confidence=float(confidence.mean()),
        pseudo_label_accuracy=pseudo_label_accuracy,
    )


def diagnose_answers(
    from_teacher: Sequence[object | None],
    said: Sequence[object | None],
    *,
    entropy_nats: FloatArray,
    confidence: FloatArray,
    rows: str,
    pseudo_label_accuracy: float | None,
) -> Diagnostics:
    """As `diagnose`, of the place of an answer in a context, or None for no answer.

    Args:
        from_teacher: what the teacher chose, N >= 1.
        said: what the student chose, the same questions in the same order.
        entropy_nats: of the teacher, (N,).
        confidence: of the teacher, (N,).

    Raises:
        ValueError: if there are not as many answers of the one as of the other.
    """
    same = np.array([one == other for one, other in zip(from_teacher, said, strict=True)])
    answered = np.array([one is not None for one in from_teacher])
    found = {"in the context": same[answered], "none": same[~answered]}
    return Diagnostics(
        rows=rows,
        num_rows=len(same),
        decided="answer",
        agreement=float(same.mean()),
        agreement_by_class={name: float(part.mean()) for name, part in found.items() if len(part)},
        teacher_entropy_nats=float(entropy_nats.mean()),
        teacher_confidence=float(confidence.mean()),
        pseudo_label_accuracy=pseudo_label_accuracy,
    )


def pseudo_label_accuracy(pseudo_labels: IntArray, labels: IntArray) -> float | None:
    """Share of labelled rows (label >= 0) whose pseudo-label is right; None if none is labelled."""
    known = labels >= 0
    return float((pseudo_labels[known] == labels[known]).mean()) if known.any() else None
