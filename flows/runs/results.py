"""The result of a run for a reader: systems, comparisons with intervals, and where things are."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from data_contracts.errors import SourceError
from data_contracts.evaluation import FORMAT_VERSION, EvaluationReport, SystemResult
from flows.runs.pointers import RunLog, recipes_run
from tasks.reporting.wording import below_floor
from tasks.runtime.artifacts import MANIFEST


def step_folder(root: Path, recipe: str, step: str, *, asked_as: str | None = None) -> Path:
    """Folder of the artifact that `step` of `recipe` used last.

    Args:
        asked_as: what `decant run` knows the recipe by, if that is not its name but a path.
    Raises: SourceError if it never finished, or `gc` removed it.
    """
    record = RunLog(root, recipe).step(step)
    folder = root / "artifacts" / record.key_parts.stage / record.key if record else None
    if folder is None or not (folder / MANIFEST).is_file():
        raise SourceError(
            f"recipe {recipe!r} has no {step} under {root}",
            rule=f"the step {step} of a recipe must have finished once; recipes run there: "
            f"{', '.join(sorted(recipes_run(root))) or 'none'}",
            remedy=f"run it: decant run {shlex.quote(asked_as or recipe)}",
        )
    return folder


def read_report(folder: Path) -> EvaluationReport:
    """The report in an evaluation's folder.

    Raises: SourceError if another version of Decant wrote it.
    """
    content = (folder / "report.json").read_bytes()
    try:
        return EvaluationReport.model_validate_json(content)
    except ValidationError as error:
        found = json.loads(content).get("format_version")
        raise SourceError(
            f"{folder / 'report.json'} has another form (format {found}) than this version reads "
            f"(format {FORMAT_VERSION})",
            rule="reports are read by the version that wrote them",
            remedy="run the recipe again: its evaluation is rebuilt",
        ) from error


def _score(system: SystemResult, metric: str, *, spread: bool) -> str:
    mean = f"{100 * system.mean[metric]:.1f}"
    return f"{mean} ± {100 * system.sd[metric]:.1f}" if system.sd and spread else mean


def _number(value: float | int | None, form: str) -> str:
    return "" if value is None else format(value, form)


def systems_rows(report: EvaluationReport) -> list[dict[str, str]]:
    """One row a system, as text, for tables on a console or on a page."""
    return [
        {
            "system": system.display,
            "language": system.language,
            **{
                f"{metric.display} %": _score(system, metric.name, spread=metric == report.primary)
                for metric in report.metrics
                if metric.compared
            },
            "parameters": _number(system.num_parameters, ","),
            "MB": _number(system.size_bytes and system.size_bytes / 1e6, ".1f"),
            "p50 ms": _number(system.latency_ms_p50, ".2f"),
            "texts/s": _number(system.throughput_texts_per_second, ",.0f"),
        }
        for system in report.systems.values()
    ]


def comparison_lines(report: EvaluationReport) -> list[str]:
    """Each difference of the primary metric with its interval, in points, whatever its sign.

    Differences of the student are means over its seeds; those of a delivered form are seed 0's.
    """
    return [
        f"{'delivered ' if c.of in report.variants else ''}{c.name.replace('_', ' ')}: "
        f"{100 * c.difference:+.1f} points [{100 * c.low:+.1f}, {100 * c.high:+.1f}], "
        f"{c.confidence:.0%} interval, {c.num_examples:,} test texts"
        for c in (*report.comparisons, *report.delivered_comparisons)
        if c.metric == report.primary.name
    ]


def print_report(report: EvaluationReport, console: Console) -> None:
    """The table of systems, the comparisons, the warnings and the notes."""
    rows = systems_rows(report)
    table = Table(
        title=f"{report.recipe}: {report.source_language} → {report.target_language}",
        title_justify="left",
    )
    for name in rows[0]:
        table.add_column(name, justify="left" if name in ("system", "language") else "right")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
    for line in comparison_lines(report):
        console.print(f"  {line}", markup=False)
    lost = below_floor(report)
    for warning in (*([lost] if lost else []), *report.warnings):
        console.print(f"  warning: {warning}", markup=False)
    for note in report.notes:
        console.print(f"  note: {note}", markup=False)
