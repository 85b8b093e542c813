"""The result table as cells of text: console, Prefect, MLflow and page show the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_contracts.evaluation import EvaluationReport, SystemResult
from tasks.reporting.wording import METRIC_NAMES, count, interval, megabytes, points

NOT_MEASURED = "–"


@dataclass(frozen=True)
class Table:
    """A header and rows of equally many cells; the first column is text, the others are figures."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def result_table(report: EvaluationReport) -> Table:
    """One line a system: where it was tested, its scores (mean ± sd over seeds), size and speed."""
    header = (
        "System", "Tested on", "Accuracy %", "Macro-F1 %", "ECE %", "Parameters", "Size",
        "p50 ms", "p95 ms", "Texts/s",
    )  # fmt: skip
    rows = [_system_row(system) for system in report.systems.values()]
    if int8 := report.variants.get("onnx_int8"):
        student = report.systems["student"]
        at = list(report.systems).index("student")
        rows.insert(
            at + 1,
            (
                "Student, int8 ONNX (seed 0)",
                f"{student.language}, {student.num_examples}",
                f"{100 * int8.accuracy:.1f}",
                f"{100 * int8.macro_f1:.1f}",
                NOT_MEASURED,
                NOT_MEASURED,
                megabytes(int8.size_bytes),
                f"{int8.latency_ms_p50:.1f}",
                f"{int8.latency_ms_p95:.1f}",
                f"{int8.throughput_texts_per_second:.0f}",
            ),
        )
    return Table(header, tuple(rows))


def comparison_table(report: EvaluationReport) -> Table:
    """One line a comparison: difference and interval in percentage points, p-value."""
    header = ("Student minus", "Metric", "Difference", "Interval", "p", "Test sets")
    rows = tuple(
        (
            report.systems[comparison.against].display,
            METRIC_NAMES[comparison.metric],
            points(comparison.difference),
            interval(comparison.low, comparison.high),
            NOT_MEASURED if comparison.p_value is None else p_value(comparison.p_value),
            "same, paired" if comparison.paired else "different",
        )
        for comparison in report.comparisons
    )
    return Table(header, rows)


def p_value(value: float) -> str:
    """Three decimals; below that, `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def markdown(table: Table) -> str:
    """The table in Markdown, figures to the right; pipes in cells are escaped."""
    rule = ("---", *("---:" for _ in table.header[1:]))
    lines = (table.header, rule, *table.rows)
    return "\n".join("| " + " | ".join(_escape(cells)) + " |" for cells in lines) + "\n"


def _escape(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]


def _system_row(system: SystemResult) -> tuple[str, ...]:
    def score(name: str) -> str:
        mean = f"{100 * getattr(system.mean, name):.1f}"
        return f"{mean} ± {100 * getattr(system.sd, name):.1f}" if system.sd else mean

    def known(value: float | None, form: str) -> str:
        return NOT_MEASURED if value is None else format(value, form)

    return (
        system.display,
        f"{system.language}, {system.num_examples}",
        score("accuracy"),
        score("macro_f1"),
        score("ece"),
        NOT_MEASURED if system.num_parameters is None else count(system.num_parameters),
        NOT_MEASURED if system.size_bytes is None else megabytes(system.size_bytes),
        known(system.latency_ms_p50, ".1f"),
        known(system.latency_ms_p95, ".1f"),
        known(system.throughput_texts_per_second, ".0f"),
    )
