"""The recipe's conditions on a student, each answered by one figure of the evaluation report.

Gates on what ships ask the delivered model: seed 0, fixed in advance, in every form that is
delivered (non-inferiority, latency, size, agreement of the int8 form; `not_worse_than_champion` its
safetensors form, which the agreement ties the int8 form to). A mean over seeds would let a poor
seed 0 pass on the merits of its siblings. One gate is about the method: what distillation gained
over the same student without it is asked of all seeds, as one seed cannot tell a gain from luck.
How far a student is above floors is asked of both: of all seeds by an interval, and of each
delivered form by its own score, for which the report has none.

A gate that cannot be answered, because its baseline was not run, fails: a condition nobody measured
is not a condition met. Scores are those of the problem's primary metric (accuracy, entity F1, BLEU,
...), compared in *points*: 1 point is 0.01 of a score in 0..1.

Non-inferiority asks the *interval's* lower end, not the estimate, to lie above the allowed loss:
few test examples then refuse a student instead of passing it by luck (Piaggio et al. 2012, CONSORT
statement for non-inferiority trials). Of a handful that all agree a bootstrap sees no spread: the
report says so where there are fewer than 30.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from data_contracts.artifacts import WithLaterFields
from data_contracts.evaluation import Comparison, EvaluationReport, Gate, SystemKind

INT8_VARIANT = "onnx_int8"
FIELD_OF = {
    "non_inferior_to_teacher": "max_drop_vs_teacher",
    "gain_over_no_kd": "min_gain_over_no_kd",
    "gain_over_floor": "min_gain_over_floor",
    "latency_ms_p50": "max_latency_ms_p50",
    "size_mb": "max_size_mb",
    "int8_agreement": "min_int8_agreement",
    "not_worse_than_champion": "not_worse_than_champion_by",
}
"""Gate → the field of `GatesConfig` with its threshold; `training_complete` has none."""

_Figure = Literal["estimate", "interval"]


class GatesConfig(WithLaterFields):
    """What a student must show before it is registered. `null` switches a gate off."""

    later_fields: ClassVar[tuple[str, ...]] = ("min_gain_over_floor",)

    max_drop_vs_teacher: float | None = Field(
        default=10.0,
        ge=0,
        description="points of the primary metric the delivered model (seed 0, in every delivered "
        "form) may lie below the teacher (on the target language, if it reads it); the lower end "
        "of the difference's interval must not lie deeper (non-inferiority)",
    )
    min_gain_over_no_kd: float | None = Field(
        default=-3.0,
        description="points of the primary metric the student, as the mean over seeds, must gain "
        "over the same student without distillation (hard pseudo-labels); negative allows a loss",
    )
    gain_over_no_kd_by: _Figure = Field(
        default="estimate",
        description="which figure min_gain_over_no_kd is asked of: the difference itself, or the "
        "lower end of its interval (stricter: the gain must be beyond chance)",
    )
    min_gain_over_floor: float | None = Field(
        default=None,
        description="points of the primary metric the student must lie above every floor of the "
        "report (majority class, copied source, first sentence, linear classifier, ...): lower end "
        "of the difference's interval, mean over seeds, and the score of each delivered form. 0: "
        "it must lie above, an equal one is refused; negative allows a loss; null: not asked",
    )
    max_latency_ms_p50: float | None = Field(
        default=50.0,
        gt=0,
        description="milliseconds, median CPU time of one text; every delivered variant must pass",
    )
    max_size_mb: float | None = Field(
        default=100.0,
        gt=0,
        description="megabytes (10^6 bytes) of weights; every delivered variant must pass",
    )
    min_int8_agreement: float | None = Field(
        default=0.98,
        ge=0,
        le=1,
        description="share of test texts the int8 variant answers like the safetensors one",
    )
    not_worse_than_champion_by: float | None = Field(
        default=3.0,
        ge=0,
        description="points of the primary metric the delivered model (seed 0) may lie below the "
        "current champion: lower end of a paired interval if both answered the same test examples, "
        "else the difference",
    )


def report_gates(
    config: GatesConfig, report: EvaluationReport, training: Mapping[str, Any]
) -> list[Gate]:
    """All gates but the champion's, in a fixed order, those switched off left out.

    Args:
        training: the delivered student's training.json.
    """
    gates = [_complete(training)]
    if config.max_drop_vs_teacher is not None:
        limit = -config.max_drop_vs_teacher
        gates.append(_non_inferior(report, limit))
    if config.min_gain_over_no_kd is not None:
        gates.append(_gain(report, config.min_gain_over_no_kd, config.gain_over_no_kd_by))
    if config.min_gain_over_floor is not None:
        gates.append(_above_floors(report, config.min_gain_over_floor))
    if config.max_latency_ms_p50 is not None:
        found = {name: variant.latency_ms_p50 for name, variant in report.variants.items()}
        gates.append(_largest("latency_ms_p50", found, config.max_latency_ms_p50, "ms"))
    if config.max_size_mb is not None:
        found = {name: variant.size_bytes / 1e6 for name, variant in report.variants.items()}
        gates.append(_largest("size_mb", found, config.max_size_mb, "MB"))
    if config.min_int8_agreement is not None:
        gates.append(_int8(report, config.min_int8_agreement))
    return gates


def champion_gate(
    config: GatesConfig, *, difference: float, low: float | None, detail: str
) -> Gate | None:
    """The gate against the current champion, or None if it is switched off.

    Args:
        difference: score minus the champion's, a fraction.
        low: lower end of its paired interval, or None if the test examples are not the same.
        detail: how the two were compared.
    """
    if config.not_worse_than_champion_by is None:
        return None
    value = round(100 * (difference if low is None else low), 3)
    threshold = -config.not_worse_than_champion_by
    return Gate(
        name="not_worse_than_champion",
        passed=value >= threshold,
        value=value,
        threshold=threshold,
        detail=detail,
    )


def _complete(training: Mapping[str, Any]) -> Gate:
    done, planned = training["steps_done"], training["steps_planned"]
    stopped = bool(training["stopped_early"])
    return Gate(
        name="training_complete",
        passed=done >= planned or stopped,
        value=float(done),
        threshold=float(planned),
        detail=f"{done} of {planned} steps" + (", stopped early on validation" if stopped else ""),
    )


def _non_inferior(report: EvaluationReport, threshold: float) -> Gate:
    """Score of every delivered form minus the teacher's: the smallest lower end decides."""
    found = _about_primary(report, report.delivered_comparisons, "teacher")
    return _decided("non_inferior_to_teacher", report, found, threshold, "interval", "teacher")


def _gain(report: EvaluationReport, threshold: float, by: _Figure) -> Gate:
    """Mean score of the student's seeds minus that of every system without distillation."""
    students = [one for one in report.comparisons if one.of == "student"]
    found = _about_primary(report, students, "no_kd")
    return _decided("gain_over_no_kd", report, found, threshold, by, "no_kd")


def _above_floors(report: EvaluationReport, threshold: float) -> Gate:
    """The student minus every floor: the smallest lower end, or delivered difference, decides."""
    students = [one for one in report.comparisons if one.of == "student"]
    found = _about_primary(report, students, "floor")
    gate = _decided("gain_over_floor", report, found, threshold, "interval", "floor")
    if gate.value is None:
        return gate
    value, detail, metric = gate.value, gate.detail, report.primary.name
    best = max(found, key=lambda one: report.systems[one.against].mean[metric]).against
    floor = report.systems[best].mean[metric]
    for form, variant in report.variants.items():
        gain = round(100 * (variant.scores[metric] - floor), 3)
        if gain < value:
            value = gain
            detail = (
                f"delivered model ({report.delivered}, {form}) minus "
                f"{report.systems[best].display}: {gain:+.1f} points, without an interval; "
                "asked of the difference"
            )
    passed = value >= threshold
    if passed and value == threshold == 0:
        # A student that answers as the floor does lies at 0 without any doubt.
        passed, detail = False, f"{detail}; at 0 nothing is gained"
    return gate.model_copy(update={"passed": passed, "value": value, "detail": detail})


def _about_primary(
    report: EvaluationReport, comparisons: Iterable[Comparison], against: SystemKind
) -> list[Comparison]:
    kinds = {name: system.kind for name, system in report.systems.items()}
    return [
        one
        for one in comparisons
        if one.metric == report.primary.name and kinds.get(one.against) == against
    ]


def _decided(
    name: str,
    report: EvaluationReport,
    found: Sequence[Comparison],
    threshold: float,
    by: _Figure,
    kind: SystemKind,
) -> Gate:
    """The gate as the worst of `found` decides it."""
    if not found:
        detail = f"not measured: the report compares the student with no system of kind {kind}"
        return Gate(name=name, passed=False, value=None, threshold=threshold, detail=detail)
    worst = min(found, key=lambda one: one.low if by == "interval" else one.difference)
    value = round(100 * (worst.low if by == "interval" else worst.difference), 3)
    paired = "paired" if worst.paired else "on two test sets"
    detail = (
        f"{_who(report, worst)} minus {report.systems[worst.against].display}: "
        f"{100 * worst.difference:+.1f} points [{100 * worst.low:+.1f}, {100 * worst.high:+.1f}] "
        f"at {worst.confidence:.0%}, {worst.num_examples} examples, {paired}; "
        f"asked of the {'lower end' if by == 'interval' else 'difference'}"
    )
    return Gate(
        name=name, passed=value >= threshold, value=value, threshold=threshold, detail=detail
    )


def _who(report: EvaluationReport, comparison: Comparison) -> str:
    """Whose score it is: a delivered form's, or the mean over a system's seeds."""
    if comparison.of in report.variants:
        return f"delivered model ({report.delivered}, {comparison.of})"
    system = report.systems[comparison.of]
    seeds = len(system.seeds)
    return system.display + (f" (mean of {seeds} seeds)" if seeds > 1 else "")


def _largest(name: str, found: Mapping[str, float], threshold: float, unit: str) -> Gate:
    value = max(found.values(), default=None)
    listed = ", ".join(f"{variant} {figure:.2f} {unit}" for variant, figure in found.items())
    return Gate(
        name=name,
        passed=value is not None and value <= threshold,
        value=None if value is None else round(value, 4),
        threshold=threshold,
        detail=listed or "not measured: the report has no delivered variants",
    )


def _int8(report: EvaluationReport, threshold: float) -> Gate:
    variant = report.variants.get(INT8_VARIANT)
    return Gate(
        name="int8_agreement",
        passed=variant is not None and variant.agreement >= threshold,
        value=None if variant is None else round(variant.agreement, 4),
        threshold=threshold,
        detail=f"not measured: the report has no variant {INT8_VARIANT}"
        if variant is None
        else f"{variant.agreement:.1%} of the test texts are answered like the safetensors variant",
    )
