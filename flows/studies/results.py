"""What a study found: the trials in a table, quality against cost in a plot, the best as a recipe.

trials.csv holds all trials; best.yaml is a complete recipe for `decant run`, without the study.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import yaml
from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from flows.recipe.recipe import Recipe
from tasks.runtime.artifacts import replace_file

State = Literal["complete", "pruned", "failed"]
_SHOWN = 12
_MEGA = 1e6


@dataclass(frozen=True)
class TrialRecord:
    """A trial that is over, or in progress (then it counts as failed).

    Args:
        number: from 0.
        value: its validation figure, if it is complete.
        values: of the parameters, by path.
        reason: why it is not complete.
        latency_ms_p50, flops, num_parameters: see `flows.studies.costs.Costs`.
    """

    number: int
    state: State
    value: float | None
    values: dict[str, JsonValue]
    reason: str = ""
    latency_ms_p50: float | None = None
    flops: int | None = None
    num_parameters: int | None = None

    def line(self, metric: str, *, of: int) -> str:
        """`trial 3 of 20  accuracy 0.9512  1.43 ms  alpha 0.8, num_layers 2`."""
        how = f"{metric} {self.value:.4f}" if self.value is not None else self.state
        time = "" if self.latency_ms_p50 is None else f"{self.latency_ms_p50:.2f} ms"
        chosen = ", ".join(f"{_short(path)} {_text(value)}" for path, value in self.values.items())
        parts = (f"trial {self.number} of {of}", how, time, chosen, self.reason)
        return "  ".join(part for part in parts if part)


@dataclass(frozen=True)
class StudyResult:
    """All trials of a study so far."""

    folder: Path
    recipe: str
    metric: str
    lower_is_better: bool
    trials: tuple[TrialRecord, ...]

    @property
    def complete(self) -> list[TrialRecord]:
        """Trials with a figure, the best first; of equals the one that computes less, then the
        earlier.
        """
        found = [trial for trial in self.trials if trial.value is not None]
        return sorted(found, key=lambda t: (self._loss(t), t.flops or 0, t.number))

    @property
    def best(self) -> TrialRecord | None:
        """The best trial, or None if none is complete."""
        return next(iter(self.complete), None)

    @property
    def pareto(self) -> list[TrialRecord]:
        """Trials that no other beats in both figure and latency, the fastest first."""
        timed = [trial for trial in self.complete if trial.latency_ms_p50 is not None]
        front: list[TrialRecord] = []
        for trial in sorted(timed, key=lambda t: (t.latency_ms_p50, self._loss(t), t.number)):
            if not front or self._loss(trial) < self._loss(front[-1]):
                front.append(trial)
        return front

    def _loss(self, trial: TrialRecord) -> float:
        assert trial.value is not None, "only complete trials are compared"
        return trial.value if self.lower_is_better else -trial.value

    def rows(self) -> list[dict[str, str]]:
        """One row a trial as text: complete ones first, the best on top."""
        numbers = {trial.number for trial in self.complete}
        front = {trial.number for trial in self.pareto}
        others = [trial for trial in self.trials if trial.number not in numbers]
        return [self._row(trial, trial.number in front) for trial in (*self.complete, *others)]

    def _row(self, trial: TrialRecord, on_front: bool) -> dict[str, str]:
        return {
            "trial": str(trial.number),
            "state": trial.state,
            self.metric: _number(trial.value, ".4f"),
            "p50_ms": _number(trial.latency_ms_p50, ".3f"),
            "mflops": _number(trial.flops, ".2f", scale=_MEGA),
            "parameters": _number(trial.num_parameters, "d"),
            "front": "yes" if on_front else "",
            **{path: _text(value) for path, value in trial.values.items()},
            "reason": trial.reason,
        }


def write_results(result: StudyResult, best: Recipe) -> None:
    """Write trials.csv, pareto.png and best.yaml into the study's folder."""
    from tasks.reporting.trade_off import TradeOff, trade_off_png

    replace_file(result.folder / "trials.csv", _csv(result.rows()))
    front = {trial.number for trial in result.pareto}
    points = [
        TradeOff(
            trial.latency_ms_p50, cast(float, trial.value), trial.number, trial.number in front
        )
        for trial in result.complete
        if trial.latency_ms_p50 is not None
    ]
    if points:
        (result.folder / "pareto.png").write_bytes(
            trade_off_png(points, metric=result.metric, title=f"Trials of {result.recipe}")
        )
    replace_file(result.folder / "best.yaml", best_yaml(result, best))


def best_yaml(result: StudyResult, best: Recipe) -> str:
    """The best trial's recipe: what the user wrote, with the trial's values."""
    trial = result.best
    assert trial is not None, "a study without a complete trial has no best recipe"
    figure = f"{result.metric} {trial.value:.4f}"
    values = best.model_dump(mode="json", exclude_unset=True)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    return (
        f"# Trial {trial.number}, the best of {len(result.trials)}: {figure} on validation rows,\n"
        f"# by which it was chosen: expect less on others.\n{text}"
    )


def print_study(result: StudyResult, console: Console) -> None:
    """The best trials as a table, and where the rest lies.

    `p50_ms` and `mflops` are of one text (flows.studies.costs); no trial is both better and faster
    than one on the `front`.
    """
    table = Table(title=f"{result.recipe}: {len(result.trials)} trials", title_justify="left")
    rows = [row for row in result.rows() if row["state"] == "complete"][:_SHOWN]
    names = [name for name in rows[0] if name not in ("state", "reason")] if rows else []
    for name in names:
        table.add_column(_short(name), justify="right")
    for row in rows:
        table.add_row(*(row.get(name, "") for name in names))
    console.print(table)
    states = [trial.state for trial in result.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    console.print(f"{counts}; figures are of validation rows", soft_wrap=True)
    for name in ("trials.csv", "pareto.png", "best.yaml"):
        if (result.folder / name).is_file():
            console.print(f"{name:<11} {result.folder / name}", markup=False, soft_wrap=True)


def _csv(rows: Sequence[dict[str, str]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _short(path: str) -> str:
    return path.rpartition(".")[2]


def _text(value: JsonValue) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _number(value: float | None, form: str, *, scale: float = 1) -> str:
    if value is None:
        return ""
    return format(value if scale == 1 else value / scale, form)
