"""Plots of what a mean hides: scores of parts of a test set, of classes, and along a curve."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_contracts.evaluation import ClassTable, Curve, EvaluationReport, Group
from tasks.reporting.drawing import (
    COLOURS,
    DASHES,
    FLOOR_DASHES,
    MARKERS,
    NAMES,
    drawable,
    legend_outside,
    one_axes,
    plain,
)

_MAX_LINES = 50
_LINE_INCHES = 0.34
_FIGURES_OF_A_CLASS = (("precision", "<"), ("recall", ">"), ("f1", "o"))


def parts_figure(report: EvaluationReport) -> Figure:
    """The primary metric of each part of the test sets, one panel a column, one mark a system.

    Floors are left to the table: they would squeeze the others. Of more than 50 parts of a column
    those with most examples are drawn; a name that cannot be is the part's number in the table.
    """
    columns: dict[str, list[tuple[int, Group]]] = {}
    for number, group in enumerate(report.groups):
        columns.setdefault(group.column, []).append((number, group))
    panels = [_largest(groups) for groups in columns.values()]
    heights = [len(panel) + 1.6 for panel in panels]
    figure = Figure(figsize=(7.6, _LINE_INCHES * sum(heights) + 0.6), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)
    named: set[str] = set()
    for axes, column, panel in zip(grid[:, 0], columns, panels, strict=True):
        for name in (name for name in NAMES if any(name in group.scores for _, group in panel)):
            drawn = [(at, group) for at, (_, group) in enumerate(panel) if name in group.scores]
            axes.plot(
                [100 * group.scores[name][report.primary.name] for _, group in drawn],
                [at for at, _ in drawn],
                color=COLOURS[name],
                marker=MARKERS[name],
                markersize=8 if name == "student" else 6,
                linestyle="none",
                label=None if (label := _label(name, report)) in named else label,
            )
            named.add(label)
        _lines(
            axes,
            [
                f"{drawable(group.value, number, noun='part')} ({group.num_examples})"
                for number, group in panel
            ],
        )
        axes.set_title(column, fontsize=10.5)
        plain(axes)
    grid[-1, 0].set_xlabel(f"test {report.primary.display}, %")
    figure.legend(frameon=False, fontsize=8.5, loc="outside right upper")
    return figure


def classes_figure(table: ClassTable) -> Figure:
    """Precision, recall and F1 of each class that occurs, and how often it does.

    Of more than 50 those of lowest F1.
    """
    rows = [row for row in enumerate(table.rows) if row[1].support]
    if len(rows) > _MAX_LINES:
        worst = sorted(rows, key=lambda row: (row[1].f1, row[0]))[:_MAX_LINES]
        rows = sorted(worst, key=lambda row: row[0])
    figure, axes = one_axes(7.2, _LINE_INCHES * len(rows) + 1.2)
    for name, marker in _FIGURES_OF_A_CLASS:
        axes.plot(
            [100 * getattr(row, name) for _, row in rows],
            range(len(rows)),
            color=COLOURS["student"] if name == "f1" else COLOURS["floor"],
            marker=marker,
            markersize=8 if name == "f1" else 6,
            linestyle="none",
            label={"f1": "F1"}.get(name, name),
        )
    _lines(axes, [f"{drawable(row.label, index)} ({row.support})" for index, row in rows])
    axes.set_xlabel("%")
    axes.set_title(f"Student (seed 0), by {table.unit}", fontsize=11)
    legend_outside(axes)
    plain(axes)
    return figure


def curve_figure(curve: Curve, report: EvaluationReport) -> Figure:
    """One line a system through its points, floors in grey; shares are drawn in percent."""
    figure, axes = one_axes(7.2, 4.0)
    dashes = cycle(FLOOR_DASHES)
    for name, points in curve.points.items():
        xs, ys = np.array(points).T
        is_floor = name not in NAMES
        axes.plot(
            100 * xs if curve.x_is_share else xs,
            100 * ys,
            color=COLOURS["floor" if is_floor else name],
            linestyle=(0, next(dashes)) if is_floor else DASHES.get(name, "-"),
            marker=None if is_floor else MARKERS[name],
            markersize=4,
            linewidth=1.4,
            label=report.systems[name].display if is_floor else NAMES[name],
        )
    axes.set_xlabel(f"{curve.x}, %" if curve.x_is_share else curve.x)
    axes.set_ylabel(f"{curve.y}, %")
    axes.set_title(curve.title, fontsize=11)
    legend_outside(axes)
    plain(axes)
    return figure


def _label(name: str, report: EvaluationReport) -> str:
    """The system's name; of a teacher that was tested twice, where it was."""
    if not {"teacher", "teacher_on_target"} <= {*report.systems}:
        return NAMES[name]
    twice = {"teacher": "Teacher, its own rows", "teacher_on_target": "Teacher, same rows"}
    return twice.get(name, NAMES[name])


def _largest(groups: Sequence[tuple[int, Group]]) -> list[tuple[int, Group]]:
    """All of a column, or those with most examples, in the order they came."""
    if len(groups) <= _MAX_LINES:
        return [*groups]
    chosen = sorted(groups, key=lambda one: -one[1].num_examples)[:_MAX_LINES]
    return sorted(chosen, key=lambda one: one[0])


def _lines(axes: Axes, labels: Sequence[str]) -> None:
    """Name the lines, the first one on top."""
    axes.set_yticks(range(len(labels)), labels, fontsize=8.5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
