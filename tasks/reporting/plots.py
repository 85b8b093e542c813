"""The report's plots as PNG bytes, drawn without matplotlib's global state.

The quality of all systems, learning curves, confidence and confusions; parts of a test set, classes
and curves are drawn by `part_plots`. How all look: `drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data_contracts.evaluation import EvaluationReport, Metric
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
    png,
)
from tasks.reporting.part_plots import classes_figure, curve_figure, parts_figure
from tasks.reporting.wording import language_name, percent

_MAX_CLASSES = 50


def draw_plots(
    report: EvaluationReport,
    decisions: tuple[np.ndarray, np.ndarray] | None,
    histories: Mapping[str, Mapping[str, Any]],
) -> dict[str, bytes]:
    """All plots, PNG by name: quality_and_size, learning_curves, parts, reliability,
    confusion_matrix or else classes, and one by the name of each of the report's curves.

    Those that a problem has no figures for are left out.

    Args:
        report: the figures.
        decisions: gold classes of the student's test set (N,), and the delivered student's (N,);
            None where an example has no single class.
        histories: `history.json` by `teacher`, `student_0`, ...; no learning curves if empty.
    """
    figures = {"quality_and_size": quality_figure(report)}
    if decisions and report.classes:
        names = [row.label for row in report.classes.rows]
        figures["confusion_matrix"] = confusion_figure(*decisions, names)
    elif report.classes and any(row.support for row in report.classes.rows):
        figures["classes"] = classes_figure(report.classes)
    if report.groups:
        figures["parts"] = parts_figure(report)
    if report.calibration:
        figures["reliability"] = reliability_figure(report)
    if histories:
        figures["learning_curves"] = learning_figure(histories, report.primary)
    for curve in report.curves:
        figures[curve.name] = curve_figure(curve, report)
    return {name: png(figure) for name, figure in figures.items()}


def confusion_figure(
    labels: np.ndarray, predictions: np.ndarray, label_names: Sequence[str]
) -> Figure:
    """Confusions of (N,) decisions, row-normalised; counts of mistakes are written in the cells.

    Of more than 50 classes those with most mistakes are shown, the others pooled as one.
    """
    labels, predictions, names = _pooled(labels, predictions, label_names)
    size = len(names)
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (labels, predictions), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(3.4 + 0.215 * size, 5.0, 14.0))
    figure, axes = one_axes(side + 0.8, side)
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    font_size = 9.0 if size <= 15 else 6.5
    for row, column in zip(*np.nonzero(counts), strict=True):
        if row != column or size <= 15:
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=font_size,
                color="white" if shares[row, column] > 0.5 else "black",
            )
    axes.set_xticks(range(size), names, rotation=90, fontsize=font_size + 0.5)
    axes.set_yticks(range(size), names, fontsize=font_size + 0.5)
    axes.set_xlabel("decided class")
    axes.set_ylabel("true class")
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#DDDDDD", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    what = "mistakes" if size > 15 else "examples"
    axes.set_title(f"Student (seed 0): confusions; numbers count {what}", fontsize=11)
    bar = figure.colorbar(image, ax=axes, fraction=0.035, pad=0.02)
    bar.set_label("share of the true class, %")
    return figure


def reliability_figure(report: EvaluationReport) -> Figure:
    """Accuracy against confidence per bin, for each calibrated system, with its histogram."""
    systems = list(report.calibration)
    figure = Figure(figsize=(4.2 * max(len(systems), 1), 4.8), layout="constrained")
    grid = figure.subplots(
        2, max(len(systems), 1), sharex=True, squeeze=False, height_ratios=[3, 1]
    )
    for column, name in enumerate(systems):
        calibration = report.calibration[name]
        filled = [entry for entry in calibration.bins if entry.count]
        upper, lower = grid[0, column], grid[1, column]
        upper.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle=(0, (4, 3)))
        upper.plot(
            [entry.mean_confidence for entry in filled],
            [entry.accuracy for entry in filled],
            color=COLOURS[name],
            marker=MARKERS[name],
            markersize=5,
            linewidth=1.4,
        )
        language = language_name(report.systems[name].language)
        upper.set_title(f"{NAMES[name]}, {language}: ECE {percent(calibration.ece)}", fontsize=10.5)
        upper.set_ylim(0, 1.02)
        upper.set_ylabel("accuracy in the bin" if column == 0 else "")
        widths = [entry.upper - entry.lower for entry in calibration.bins]
        lower.bar(
            [entry.lower for entry in calibration.bins],
            [entry.count for entry in calibration.bins],
            width=widths,
            align="edge",
            color=COLOURS[name],
            edgecolor="white",
            linewidth=0.5,
        )
        lower.set_xlabel("confidence (top-1 probability)")
        lower.set_ylabel("examples" if column == 0 else "")
        lower.set_xlim(0, 1)
        for axes in (upper, lower):
            plain(axes)
    return figure


def learning_figure(histories: Mapping[str, Mapping[str, Any]], metric: Metric) -> Figure:
    """Validation score and training loss against the optimizer step, one line a seed.

    Where `metric` was not validated, the validation loss stands in for it.
    """
    figure = Figure(figsize=(8.4, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    named: set[str] = set()
    validated = [entry for history in histories.values() for entry in history["validations"]]
    is_scored = all(metric.name in entry for entry in validated)
    shown, scale = (metric.name, 100) if is_scored else ("loss", 1)
    for name, history in histories.items():
        system = name.rstrip("0123456789").rstrip("_")
        style: dict[str, Any] = {
            "color": COLOURS[system],
            "linestyle": DASHES[system],
            "linewidth": 1.3,
            "alpha": 0.9,
        }
        label = None if system in named else NAMES[system]
        named.add(system)
        validations, steps = history["validations"], history["steps"]
        left.plot(
            [entry["step"] for entry in validations],
            [scale * entry[shown] for entry in validations],
            label=label,
            marker=MARKERS[system],
            markersize=3,
            **style,
        )
        best = [entry for entry in validations if entry["step"] == history["best_step"]]
        for entry in best:
            left.plot(
                entry["step"],
                scale * entry[shown],
                marker=MARKERS[system],
                markersize=8,
                markerfacecolor="none",
                markeredgecolor=COLOURS[system],
            )
        right.plot([e["step"] for e in steps], [e["loss"] for e in steps], label=label, **style)
    left.set_ylabel(f"validation {metric.display}, %" if is_scored else "validation loss")
    left.set_title("Validation (ring: the step that is kept)", fontsize=10.5)
    right.set_ylabel("training loss (each system's own)")
    right.set_title("Training", fontsize=10.5)
    if any(entry["loss"] > 0 for history in histories.values() for entry in history["steps"]):
        right.set_yscale("log")
    for axes in (left, right):
        axes.set_xlabel("optimizer step")
        plain(axes)
    left.legend(frameon=False, fontsize=8.5, loc="lower right")
    return figure


def quality_figure(report: EvaluationReport) -> Figure:
    """The primary metric against the weight files' size, log axis; floors without weights as lines.

    A floor far below the others (25 points) is told in the legend and not drawn, so that the
    differences between the others can be seen.
    """
    figure, axes = one_axes(7.2, 4.4)
    metric = report.primary
    points = [
        (
            name,
            system.size_bytes,
            system.mean[metric.name],
            system.sd[metric.name] if system.sd else 0.0,
        )
        for name, system in report.systems.items()
        if system.size_bytes
    ]
    if int8 := report.variants.get("onnx_int8"):
        points.append(("onnx_int8", int8.size_bytes, int8.scores[metric.name], 0.0))
    for name, size_bytes, score, sd in points:
        language = report.target_language
        if name in report.systems:
            language = report.systems[name].language
        axes.errorbar(
            size_bytes / 1e6,
            100 * score,
            yerr=100 * sd if sd else None,
            color=COLOURS[name],
            marker=MARKERS[name],
            markersize=8,
            capsize=3,
            linestyle="none",
            label=f"{NAMES[name]} ({language}): {percent(score)}",
        )
    floors = [system for system in report.systems.values() if system.kind == "floor"]
    for system, dashes in zip(floors, cycle(FLOOR_DASHES), strict=False):
        label = f"{system.display}: {percent(system.mean[metric.name])}"
        style: dict[str, Any] = {
            "color": COLOURS["floor"],
            "linewidth": 1,
            "linestyle": (0, dashes),
        }
        if system.mean[metric.name] >= min(score for *_, score, _ in points) - 0.25:
            axes.axhline(100 * system.mean[metric.name], label=label, **style)
        else:
            axes.plot([], [], linestyle="none", label=f"{label} (below the plot)")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "25" else "")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.5, high * 1.5)
    axes.set_xlabel("weight files, MB (log scale)")
    axes.set_ylabel(f"test {metric.display}, %")
    axes.set_title("Quality against size", fontsize=11)
    legend_outside(axes)
    plain(axes)
    return figure


def _pooled(
    labels: np.ndarray, predictions: np.ndarray, label_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The classes to draw: all that occur, or those with most mistakes and one for the others."""
    num_classes = len(label_names)
    occurs = np.zeros(num_classes, dtype=bool)
    occurs[labels] = occurs[predictions] = True
    wrong = labels != predictions
    mistakes = np.bincount(labels[wrong], minlength=num_classes)
    mistakes += np.bincount(predictions[wrong], minlength=num_classes)
    chosen = np.flatnonzero(occurs)
    if len(chosen) > _MAX_CLASSES:
        chosen = np.sort(np.argsort(-mistakes, kind="stable")[: _MAX_CLASSES - 1])
    names = [drawable(label_names[i], i) for i in chosen.tolist()]
    position = np.full(num_classes, len(chosen))
    position[chosen] = np.arange(len(chosen))
    if (position[labels] == len(chosen)).any() or (position[predictions] == len(chosen)).any():
        names.append(f"{int(occurs.sum()) - len(chosen)} others")
    return position[labels], position[predictions], names
