"""What was seen while the delivered student learned, for readers who were not there.

    history.json of the student       ─► share of each loss term, drift of a teacher, collapse
    signals, tokens of both readers   ─► saturation, fertility, texts off the teacher's domain

Training says its warnings once, and a cached student says none. They are found again here, by the
same rules, from what the student was made of: it need not be trained again to be warned of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_contracts.evaluation import Course, Learning
from tasks.comparison.material import Material
from tasks.corpus.tables import part_paths, read_table
from tasks.corpus.text.languages import in_any_language
from tasks.problems import PROBLEMS
from tasks.training.batching.signal_join import SignalJoin
from tasks.training.engine.diagnostics import (
    collapsed,
    evenly_spread,
    fertility,
    saturation,
    teacher_domain,
)
from tasks.training.objectives.config import ObjectiveConfig
from tasks.training.objectives.objective import Objective

_SHARE = "share_"
_DRIFT = "_drift_"


def learning_of(material: Material) -> Learning | None:
    """Shares and drift at the delivered student's validations; None if it noted neither."""
    history = _history(material)
    validations: Sequence[Mapping[str, float]] = history["validations"]
    if not validations:
        return None
    best = next(entry for entry in validations if entry["step"] == history["best_step"])
    told = (validations[0], best, validations[-1])
    in_all = [name for name in best if all(name in entry for entry in told)]
    shares = [name for name in in_all if name.startswith(_SHARE)]
    drift = [name for name in in_all if name.startswith("peer_") and _DRIFT in name]
    if not shares and not drift:
        return None

    def course(name: str, shown: str) -> Course:
        first, at_best, last = (float(entry[name]) for entry in told)
        return Course(name=shown, first=first, best=at_best, last=last)

    first_step, best_step, last_step = (int(entry["step"]) for entry in told)
    return Learning(
        first_step=first_step,
        best_step=best_step,
        last_step=last_step,
        shares=tuple(course(name, name.removeprefix(_SHARE)) for name in shares),
        drift=tuple(course(name, name.replace(_DRIFT, "_")) for name in drift),
    )


def warnings_of(material: Material, problem: str, train_on: Sequence[str]) -> tuple[str, ...]:
    """What looks wrong with the delivered student, each with its likely cause; most have none.

    Args:
        problem: an encoder's, a key of `tasks.problems.PROBLEMS`.
        train_on: roles of the rows the student learned from.
    """
    student = material.seeds("student")[0].manifest.key_parts.config
    objective = ObjectiveConfig.model_validate(student.get("objective", {}))
    found: list[str] = []
    if objective.needs_teacher:
        found += teacher_domain(material.path("teacher_signals"), train_on).warnings
        if PROBLEMS[problem].distribution == "classes":
            languages = student.get("languages", ())
            found += _saturated(material, objective, train_on, languages)
        read, read_by_teacher = material.path("student_tokens"), material.path("teacher_tokens")
        found += fertility(read, read_by_teacher, train_on).warnings
    history = _history(material)
    if history["validations"]:
        found += collapsed(history["validations"], history["best_step"]).warnings
    return tuple(found)


def _saturated(
    material: Material, objective: ObjectiveConfig, roles: Sequence[str], languages: Sequence[str]
) -> list[str]:
    """Of the rows that the student learned from, at the temperature that its loss began with."""
    settings = Objective(objective.loss_terms).settings(0)
    temperatures = [value for name, value in settings.items() if name.startswith("temperature_")]
    if not temperatures:
        return []
    # Counted first, then looked at: a part is in memory at a time, however many rows there are.
    parts = _parts(material, roles)
    counts = [len(_logits(material, part, languages)) for part in parts]
    drawn = evenly_spread(sum(counts))
    if not len(drawn):
        return []
    found, start = [], 0
    for part, count in zip(parts, counts, strict=True):
        here = drawn[(drawn >= start) & (drawn < start + count)] - start
        start += count
        if len(here):
            found.append(_logits(material, part, languages)[here])
    return saturation(np.concatenate(found), temperatures[0]).warnings


def _parts(material: Material, roles: Sequence[str]) -> list[str]:
    """Names (role/file) of the parts of the student's tokens, in the order of its rows."""
    folder = material.path("student_tokens")
    paths = part_paths(folder, roles)
    return [path.relative_to(folder).as_posix() for path in paths]


def _logits(material: Material, part: str, languages: Sequence[str]) -> np.ndarray:
    """The teacher's logits (answers, C) of the rows of a part that the student learned from.

    Args:
        languages: that these rows are read in; all if empty.
    """
    rows = read_table(material.path("student_tokens") / part, ["example_id", "language"])
    if languages:
        rows = rows.filter(in_any_language(rows["language"], languages))
    num_classes = len(material.label_names)
    if not len(rows):
        return np.empty((0, num_classes), np.float32)
    join = SignalJoin(material.path("teacher_signals"), material.label_names)
    values = join.rows(part, rows)["logits"].combine_chunks().flatten()
    return np.asarray(values, dtype=np.float32).reshape(-1, num_classes)


def _history(material: Material) -> dict[str, Any]:
    path = material.seeds("student")[0].path / "history.json"
    return json.loads(path.read_text(encoding="utf-8"))
