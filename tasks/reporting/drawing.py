"""How all plots of the report look: colours, markers and names of systems, axes, PNG bytes.

Colours are Okabe and Ito's, told apart with every common colour blindness; systems also differ in
marker or line style. Names that the font has no glyphs for (such as Chinese ones) are drawn as
their number in the report's table, never as empty boxes.
"""

from __future__ import annotations

import io
from functools import cache

from matplotlib import font_manager, ft2font
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe & Ito 2008, "Color Universal Design".
COLOURS = {
    "teacher": "#0072B2",
    "student": "#D55E00",
    "pseudo_label": "#009E73",
    "supervised": "#CC79A7",
    "teacher_on_target": "#56B4E9",
    "no_kd": "#999933",
    "zero_shot": "#882255",
    "onnx_int8": "#E69F00",
    "floor": "#555555",
}
DASHES = {
    "teacher": "-", "student": "-", "pseudo_label": "--", "supervised": ":", "no_kd": "--",
    "zero_shot": "-.",
}  # fmt: skip
FLOOR_DASHES = ((1, 1), (4, 2), (6, 2, 1, 2))
"""Of floors, one after the other; all are grey."""
MARKERS = {
    "teacher": "s", "student": "o", "pseudo_label": "^", "supervised": "D", "onnx_int8": "v",
    "teacher_on_target": "P", "no_kd": "<", "zero_shot": "X",
}  # fmt: skip
NAMES = {
    "teacher": "Teacher",
    "student": "Student (distilled)",
    "pseudo_label": "Hard pseudo-labels",
    "supervised": "Gold labels",
    "teacher_on_target": "Teacher",
    "no_kd": "No distillation",
    "zero_shot": "Zero-shot",
    "onnx_int8": "Student, int8",
}
_MAX_NAME_CHARS = 28
_DPI = 130


def one_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def plain(axes: Axes) -> None:
    """Light grid behind, no frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E4E4E4", linewidth=0.7)
    axes.set_axisbelow(True)


def legend_outside(axes: Axes) -> None:
    """The legend right of the axes, where it covers no mark."""
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def drawable(name: str, index: int, *, noun: str = "class") -> str:
    """`name`, shortened; or its number in the table if the font lacks one of its glyphs."""
    if not set(map(ord, name)) <= _known_glyphs():
        return f"{noun} {index + 1}"
    short = name if len(name) <= _MAX_NAME_CHARS else name[: _MAX_NAME_CHARS - 1] + "…"
    return short.replace("$", r"\$")


@cache
def _known_glyphs() -> set[int]:
    path = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans"))
    return set(ft2font.FT2Font(path).get_charmap())


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, the same bytes every time."""
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    # No Software entry: equal figures are equal bytes on any matplotlib of the same drawing.
    figure.savefig(stream, format="png", dpi=_DPI, bbox_inches="tight", metadata={"Software": None})
    return stream.getvalue()
