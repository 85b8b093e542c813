"""How far the delivered student followed its teacher, on rows both have read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from data_contracts.errors import ContractViolation
from data_contracts.evaluation import Diagnostics
from tasks.comparison.answers import student_logits
from tasks.comparison.material import Material
from tasks.metrics.diagnostics import diagnose, pseudo_label_accuracy
from tasks.runtime.seeding import generator

_MAX_ROWS = 2000  # a standard error of about 1 point, and a second of a small student's time


def diagnose_student(material: Material, *, train_on: Sequence[str], seed: int) -> Diagnostics:
    """Agreement of teacher and student (seed 0).

    Measured on validation rows that both read (parallel texts); where there are none, on a draw of
    the rows the student was trained on, which the record says: agreement there is flattering.

    Args:
        train_on: roles of the rows the student learned from.
        seed: of the draw.
    """
    learned = material.rows("student", train_on)
    pseudo_labels = material.teacher_logits(learned["example_id"]).argmax(axis=1)
    rows, described = (
        _validation_rows_of_both(material),
        "validation rows both read, not trained on",
    )
    if rows is None:
        rows, described = learned, f"{' and '.join(train_on)} rows, which the student trained on"
    if len(rows) > _MAX_ROWS:
        drawn = generator(seed, "agreement").choice(len(rows), _MAX_ROWS, replace=False)
        rows = rows.take(pa.array(np.sort(drawn)))
    model = material.seeds("student")[0].path / "model"
    return diagnose(
        material.teacher_logits(rows["example_id"]),
        student_logits(material, model, rows["input_ids"]),
        material.label_names,
        rows=described,
        pseudo_label_accuracy=pseudo_label_accuracy(pseudo_labels, learned["label"].to_numpy()),
    )


def _validation_rows_of_both(material: Material) -> pa.Table | None:
    try:
        rows = material.rows("student", ["validation"])
    except ContractViolation:  # no validation rows in that language: nothing to measure on
        return None
    rows = rows.filter(material.has_signal(rows["example_id"]))
    return rows if len(rows) else None
