"""report.html: one file that reads well on a laptop and a phone, in light and dark, offline.

Images are embedded as base64, styles inline, no script: it can be mailed, archived or opened as an
MLflow artifact. Jinja2 escapes everything that comes from a recipe or a data set.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from data_contracts.evaluation import Comparison, EvaluationReport, Gate
from tasks.reporting import tables, wording

_PLOTS = {
    "quality_and_size": (
        "Quality against size",
        "Test score against the bytes of the weight files. Bars: standard deviation over seeds.",
    ),
    "learning_curves": (
        "Learning curves",
        "Left: score on validation rows. Right: training loss, whose level depends on the "
        "objective and is not comparable between systems.",
    ),
    "parts": (
        "By part of the test sets",
        "Means over seeds, with the number of test examples; the floors are in the table.",
    ),
    "reliability": (
        "Reliability",
        "Confidence against accuracy: points below the diagonal are overconfident.",
    ),
    "confusion_matrix": (
        "Confusion matrix",
        "Rows: true class; columns: decided class; colour: share of the true class.",
    ),
    "classes": (
        "Precision, recall and F1",
        "Of the delivered student, with how often each is in the test set; those that "
        "never are have no line.",
    ),
}

_NEAR = 0.25


def render_report(
    report: EvaluationReport,
    plots: Mapping[str, bytes],
    *,
    model_name: str = "",
    gates: Sequence[Gate] = (),
) -> str:
    """The page as HTML text.

    Args:
        report: the figures.
        plots: PNG bytes by name, as from `draw_plots`; unknown names are left out.
        model_name: registered name for the loading example; empty: a placeholder.
        gates: what registration decided, if it has.
    """
    metric = report.primary
    told = {**_PLOTS, **{one.name: (one.title, one.caption) for one in report.curves}}
    return _template().render(
        metric=metric,
        report=report,
        source=wording.language_name(report.source_language),
        target=wording.language_name(report.target_language),
        student=report.systems["student"],
        teacher=report.systems["teacher"],
        verdict=wording.verdict(report),
        retention=[wording.retention_sentence(entry, report) for entry in report.retention],
        sentences=[
            wording.comparison_sentence(entry, report)
            for entry in report.comparisons
            if entry.metric == metric.name
        ],
        delivered=[
            wording.delivered_sentence(entry, report)
            for entry in report.delivered_comparisons
            if entry.metric == metric.name
        ],
        results=tables.result_table(report),
        comparisons=tables.comparison_table(report),
        groups=tables.group_table(report),
        languages=tables.language_table(report),
        shares=tables.share_table(report.learning) if report.learning else None,
        drift=tables.drift_table(report.learning) if report.learning else None,
        intervals=_intervals(report),
        plots=[
            (name, title, caption, base64.b64encode(plots[name]).decode("ascii"))
            for name, (title, caption) in told.items()
            if name in plots
        ],
        totals=_totals(report),
        gates=gates,
        model_name=model_name or "<registered name>",
        coverage=wording.coverage,
        percent=wording.percent,
        count=wording.count,
        megabytes=wording.megabytes,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("tasks.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _intervals(report: EvaluationReport) -> list[dict[str, object]]:
    """Comparisons of the primary metric as positions (0..100) on one axis, to draw.

    A floor far below would squeeze the others into one dot: beyond 25 points a comparison is drawn
    as an arrow, and its figures stand in the text.
    """
    shown = [entry for entry in report.comparisons if entry.metric == report.primary.name]
    near = [entry for entry in shown if abs(entry.difference) <= _NEAR] or shown
    low = min([0.0, *(entry.low for entry in near)])
    high = max([0.0, *(entry.high for entry in near)])
    margin = max(0.1 * (high - low), 0.002)
    low, high = low - margin, high + margin

    def at(value: float) -> float:
        return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2)

    def drawn(entry: Comparison) -> dict[str, object]:
        return {
            "against": report.systems[entry.against].display,
            "left": at(entry.low),
            "right": at(entry.high),
            "middle": at(entry.difference),
            "zero": at(0.0),
            "beyond": "→" if entry.difference > high else "←" if entry.difference < low else "",
            "finding": wording.finding(entry),
            "text": f"{wording.points(entry.difference)} "
            f"[{wording.interval(entry.low, entry.high)}]",
        }

    return [drawn(entry) for entry in shown]


def _totals(report: EvaluationReport) -> dict[str, object]:
    """Rows over all sources, and the reasons of quarantine and deduplication with their counts."""
    reasons: dict[str, int] = {}
    repairs: dict[str, int] = {}
    for entry in report.data:
        for kind, number in entry.repairs.items():
            repairs[kind] = repairs.get(kind, 0) + number
        for reason, rows in (*entry.quarantined.items(), *entry.deduplicated.items()):
            reasons[reason] = reasons.get(reason, 0) + rows
    return {
        "rows_not_taken": sum(entry.rows_not_taken for entry in report.data),
        "rows_in": sum(entry.rows_in for entry in report.data),
        "rows_out": sum(entry.rows_out for entry in report.data),
        "quarantined": sum(sum(entry.quarantined.values()) for entry in report.data),
        "deduplicated": sum(sum(entry.deduplicated.values()) for entry in report.data),
        "repairs": sorted((kind, number) for kind, number in repairs.items() if number),
        "reasons": sorted(reasons.items(), key=lambda item: (-item[1], item[0])),
    }
