"""Quality against time: every candidate a point, those that no other beats joined by a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.reporting.drawing import COLOURS, one_axes, plain, png

_FRONT, _OTHERS = COLOURS["student"], COLOURS["teacher"]


@dataclass(frozen=True)
class TradeOff:
    """One candidate: milliseconds at batch 1, its figure, its number, whether none beats it."""

    latency_ms: float
    value: float
    number: int
    on_front: bool


def trade_off_png(points: Sequence[TradeOff], *, metric: str, title: str) -> bytes:
    """The plot as PNG; time on a logarithmic axis, points on the front named by their number."""
    figure, axes = one_axes(7.2, 4.8)
    front = sorted((p for p in points if p.on_front), key=lambda p: p.latency_ms)
    others = [p for p in points if not p.on_front]
    axes.scatter([p.latency_ms for p in others], [p.value for p in others], color=_OTHERS, s=22)
    axes.plot(
        [p.latency_ms for p in front],
        [p.value for p in front],
        color=_FRONT,
        marker="D",
        drawstyle="steps-post",
        label="no other is both better and faster",
    )
    for point in front:
        axes.annotate(
            str(point.number),
            (point.latency_ms, point.value),
            xytext=(4, 5),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_xlabel("latency of the network at batch 1, ms (median)")
    axes.set_ylabel(f"{metric.replace('_', ' ')} on validation rows")
    axes.set_title(title, fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return png(figure)
