"""The two plots of speed.md, as small PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe & Ito 2008, "Color Universal Design".
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#555555")
_MARKERS = ("o", "s", "^", "D", "v", "x")
_DPI = 100


def draw_curves(result: Mapping, names: Mapping[str, str], path: Path) -> None:
    """Validation accuracy against seconds of each system."""
    figure, axes = _figure()
    for number, (name, curve) in enumerate(result["curves"].items()):
        seconds = [point[0] for point in curve["points"]]
        scores = [100 * point[2] for point in curve["points"]]
        axes.plot(
            seconds,
            scores,
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            label=names[name].replace("*", ""),
        )
    for number, target in enumerate(result["targets"]):
        label = None if number else "to be reached"
        score = 100 * target["score"]
        axes.axhline(score, color="#999999", linewidth=0.8, linestyle="--", label=label)
    axes.set_xscale("log")
    axes.set_xlabel("seconds, teacher and validation included (log)")
    axes.set_ylabel("validation accuracy, %")
    axes.legend(fontsize=8)
    _save(figure, path)


def draw_memory(result: Mapping, path: Path) -> None:
    """Peak memory and seconds of each step against rows, both axes logarithmic."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    rows = [size["rows"] for size in result["sizes"]]
    steps = list(result["sizes"][0]["steps"])
    for place, (key, label) in enumerate(
        (("peak_mib", "peak memory, MiB"), ("seconds", "seconds"))
    ):
        axes = figure.add_subplot(1, 2, place + 1)
        for number, step in enumerate(steps):
            axes.plot(
                rows,
                [size["steps"][step][key] for size in result["sizes"]],
                color=_COLOURS[number % len(_COLOURS)],
                marker=_MARKERS[number % len(_MARKERS)],
                markersize=4,
                label="imports alone" if step == "nothing" else step,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("rows")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _save(figure, path)


def _figure():
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
