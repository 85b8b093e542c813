"""The result table as cells of text: console, Prefect, MLflow and page show the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_contracts.evaluation import EvaluationReport, Learning, SystemResult
from tasks.reporting.wording import count, interval, language_name, megabytes, points

NOT_MEASURED = "–"


@dataclass(frozen=True)
class Table:
    """A header and rows of equally many cells; the first column is text, the others are figures."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def result_table(report: EvaluationReport) -> Table:
    """One line a system: where it was tested, its scores (mean ± sd over seeds), size and speed."""
    tabled = [metric for metric in report.metrics if metric.tabled]
    header = (
        "System", "Tested on", *(f"{sentence_start(metric.display)} %" for metric in tabled),
        "Parameters", "Size", "p50 ms", "p95 ms", "Texts/s",
    )  # fmt: skip
    names = [metric.name for metric in tabled]
    rows = [_system_row(system, names) for system in report.systems.values()]
    if int8 := report.variants.get("onnx_int8"):
        student = report.systems["student"]
        at = list(report.systems).index("student")
        rows.insert(
            at + 1,
            (
                "Student, int8 ONNX (seed 0)",
                f"{student.language}, {student.num_examples}",
                *(
                    f"{100 * int8.scores[metric.name]:.1f}"
                    if metric.compared and metric.name in int8.scores
                    else NOT_MEASURED
                    for metric in tabled
                ),
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
            report.metric(comparison.metric).display,
            points(comparison.difference),
            interval(comparison.low, comparison.high),
            NOT_MEASURED if comparison.p_value is None else p_value(comparison.p_value),
            "same, paired" if comparison.paired else "different",
        )
        for comparison in report.comparisons
    )
    return Table(header, rows)


def group_table(report: EvaluationReport) -> Table:
    """One line a part of the test set, one column a system: the primary metric, mean over seeds.

    Parts are numbered: the plot has numbers where it cannot draw a name.
    """
    systems = list(dict.fromkeys(name for group in report.groups for name in group.scores))
    header = ("Part", "Examples", *(report.systems[name].display for name in systems))
    rows = tuple(
        (
            f"{number} {group.column}: {group.value}",
            str(group.num_examples),
            *(
                f"{100 * group.scores[name][report.primary.name]:.1f}"
                if name in group.scores
                else NOT_MEASURED
                for name in systems
            ),
        )
        for number, group in enumerate(report.groups, start=1)
    )
    return Table(header, rows)


def language_table(report: EvaluationReport) -> Table:
    """One line a language: how often the delivered student answers as the teacher does."""
    rows = tuple(
        (
            language_name(entry.language),
            f"{100 * entry.agreement:.1f}",
            f"{entry.num_rows:,}",
            entry.rows,
        )
        for entry in report.agreement_by_language
    )
    return Table(("Language", "Answered alike %", "Rows", "Which"), rows)


def share_table(learning: Learning) -> Table:
    """One line a loss term: its share in the gradient, in percent."""
    rows = tuple(
        (one.name, *(f"{100 * value:.1f}" for value in (one.first, one.best, one.last)))
        for one in learning.shares
    )
    return Table(("Loss term", *_validations(learning, "%")), rows)


def drift_table(learning: Learning) -> Table:
    """One line a figure of a teacher that learned along: what it is beside its former self."""
    rows = []
    for one in learning.drift:
        figure = one.name.removeprefix("peer_").partition("_")[2]
        values = (one.first, one.best, one.last)
        if figure == "kl":
            rows.append(("KL from its former self, nats", *(f"{value:.4f}" for value in values)))
        else:
            shown = sentence_start(figure.replace("_", " "))
            rows.append((f"{shown}, points", *(points(value) for value in values)))
    return Table(("Teacher less its former self", *_validations(learning)), tuple(rows))


def _validations(learning: Learning, unit: str = "") -> tuple[str, ...]:
    steps = (learning.first_step, learning.best_step, learning.last_step)
    return tuple(
        f"{when}, step {step:,}{unit and ' '}{unit}"
        for when, step in zip(("First", "Delivered", "Last"), steps, strict=True)
    )


def sentence_start(display: str) -> str:
    """A metric's name with a capital first letter, unless it is written its own way (chrF)."""
    return display[0].upper() + display[1:] if display.islower() or "-" in display else display


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


def _system_row(system: SystemResult, metrics: Sequence[str]) -> tuple[str, ...]:
    def score(name: str) -> str:
        if name not in system.mean:
            return NOT_MEASURED
        mean = f"{100 * system.mean[name]:.1f}"
        return f"{mean} ± {100 * system.sd[name]:.1f}" if system.sd else mean

    def known(value: float | None, form: str) -> str:
        return NOT_MEASURED if value is None else format(value, form)

    return (
        system.display,
        f"{system.language}, {system.num_examples}",
        *map(score, metrics),
        NOT_MEASURED if system.num_parameters is None else count(system.num_parameters),
        NOT_MEASURED if system.size_bytes is None else megabytes(system.size_bytes),
        known(system.latency_ms_p50, ".1f"),
        known(system.latency_ms_p95, ".1f"),
        known(system.throughput_texts_per_second, ".0f"),
    )
