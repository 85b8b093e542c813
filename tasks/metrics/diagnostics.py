"""What the teacher's signals looked like, and how far the student followed them.

Low agreement with a confident teacher is a student that did not learn; high agreement with wrong
pseudo-labels is a student that learned the teacher's mistakes. The scores alone show neither.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_contracts.evaluation import Diagnostics
from tasks.metrics.calibration import entropy, top_probabilities
from tasks.metrics.classification import FloatArray, IntArray


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


def pseudo_label_accuracy(pseudo_labels: IntArray, labels: IntArray) -> float | None:
    """Share of labelled rows (label >= 0) whose pseudo-label is right; None if none is labelled."""
    known = labels >= 0
    return float((pseudo_labels[known] == labels[known]).mean()) if known.any() else None
