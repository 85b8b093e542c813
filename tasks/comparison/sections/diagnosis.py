"""How far the delivered student followed its teacher, on rows both have read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.evaluation import Diagnostics
from tasks.comparison.material import Material
from tasks.metrics.diagnostics import diagnose, pseudo_label_accuracy
from tasks.runtime.seeding import generator

pc: Any = pyarrow.compute

_MAX_EXAMPLES = 2000  # a standard error of about 1 point, and a second of a small student's time


def diagnose_classes(
    material: Material,
    student_logits: Callable[[Path, pa.Table], np.ndarray],
    *,
    train_on: Sequence[str],
    seed: int,
) -> Diagnostics:
    """Agreement of teacher and student (seed 0) on one of C classes a row.

    Args:
        student_logits: model folder and token rows -> logits (rows, C).
        train_on: roles of the rows the student learned from.
        seed: of the draw.
    """
    learned = material.rows("student", train_on)
    pseudo_labels = material.teacher_logits(learned["example_id"]).argmax(axis=1)
    rows, described = diagnosed_rows(material, learned, train_on=train_on, seed=seed)
    model = material.seeds("student")[0].path / "model"
    return diagnose(
        material.teacher_logits(rows["example_id"]),
        student_logits(model, rows),
        material.label_names,
        rows=described,
        pseudo_label_accuracy=pseudo_label_accuracy(pseudo_labels, learned["label"].to_numpy()),
    )


def diagnosed_rows(
    material: Material, learned: pa.Table, *, train_on: Sequence[str], seed: int
) -> tuple[pa.Table, str]:
    """Rows that teacher and student both read, at most 2,000, and which these are in words.

    Validation rows (parallel texts); where there are none, rows the student was trained on, which
    the words say: agreement there is flattering.

    Args:
        learned: the rows the student learned from.
    """
    rows, described = (
        _validation_rows_of_both(material),
        "validation rows both read, not trained on",
    )
    if rows is None:
        rows, described = learned, f"{' and '.join(train_on)} rows, which the student trained on"
    return drawn(rows, seed=seed), described


def drawn(rows: pa.Table, *, seed: int, most: int = _MAX_EXAMPLES) -> pa.Table:
    """All rows of `most` of the examples at most: drawn over all of them, since rows are in the
    order of their sources and domains; in the order they came."""
    ids = pc.unique(rows["example_id"])
    if len(ids) <= most:
        return rows
    chosen = generator(seed, "agreement").choice(len(ids), most, replace=False)
    return rows.filter(pc.is_in(rows["example_id"], value_set=ids.take(pa.array(chosen))))


def _validation_rows_of_both(material: Material) -> pa.Table | None:
    rows = material.find_rows("student", ["validation"], language=material.target_language)
    if rows is None:
        return None
    rows = rows.filter(material.has_signal(rows["example_id"]))
    return rows if len(rows) else None
