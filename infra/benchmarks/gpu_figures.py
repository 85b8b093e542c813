"""The GPU benchmark's records as tables, and its figures held against their targets.

The targets are those of one H100. The students' are of training on cached signals without dropout,
compiled as the product does it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = dict[str, Any]
_COLUMNS = (
    "section", "case", "samples_s", "tokens_s", "tflops", "share_of_peak", "loader_idle", "gib",
    "gradient_error", "syncs", "equal", "failed", "skipped",
)  # fmt: skip


def judged(records: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Each figure that has a target: `figure`, `target`, `measured`, `held`.

    `measured` and `held` are None where the section did not run or failed.
    """

    def first(section: str, field: str, part: str = "") -> float | None:
        """Of the section's first case with `part` in its name: compiled, without dropout."""
        found = [r for r in records if r["section"] == section and part in r["case"]]
        return found[0].get(field) if found else None

    ours = first("training", "samples_s", "small")

    def times(variant: str) -> float | None:
        theirs = first("trainer", "samples_s", variant)
        return round(ours / theirs, 1) if ours and theirs else None

    return [
        _held("samples a second, small student", ">= 120,000", ours, lambda x: x >= 120_000),
        _held("times Hugging Face Trainer, tuned", ">= 25", times("tuned"), lambda x: x >= 25),
        _held(
            "times Hugging Face Trainer, as it comes", ">= 120", times("as it comes"),
            lambda x: x >= 120,
        ),
        _held(
            "share of the measured peak, training the wide student", ">= 0.45",
            first("training", "share_of_peak", "wide"), lambda x: x >= 0.45,
        ),
        _held(
            "share of the measured peak, the teacher reading", ">= 0.5",
            first("signals", "share_of_peak"), lambda x: x >= 0.5,
        ),
        _held(
            "loader idle", "< 0.02", first("training", "loader_idle", "small"), lambda x: x < 0.02
        ),
        _held("waits for the device in a step", "0", first("syncs", "syncs"), lambda x: x == 0),
    ]  # fmt: skip


def _held(
    figure: str, target: str, measured: float | None, holds: Callable[[float], bool]
) -> Record:
    held = None if measured is None else holds(measured)
    return {"figure": figure, "target": target, "measured": measured, "held": held}


def targets_table(targets: Sequence[Mapping[str, Any]]) -> str:
    """What `judged` gave, as Markdown."""
    words = {True: "yes", False: "**no**", None: "not measured"}
    lines = ["| figure | target | measured | held |", "|---|---:|---:|---|"]
    for one in targets:
        measured = "" if one["measured"] is None else f"{one['measured']:,}"
        lines.append(f"| {one['figure']} | {one['target']} | {measured} | {words[one['held']]} |")
    return "\n".join(lines)


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """The records as Markdown."""
    used = [name for name in _COLUMNS if any(record.get(name) is not None for record in records)]
    lines = ["| " + " | ".join(used) + " |", "|" + "---|" * len(used)]
    for record in records:
        cells = ["" if record.get(name) is None else str(record[name]) for name in used]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
