"""One MLflow run a registration: parameters, figures, learning curves, the report.

Batches throughout: 1,000 metrics in one call are 20 times cheaper than one call each.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_contracts.evaluation import EvaluationReport, Gate
from tasks.runtime.redaction import redact
from tasks.serving.registry.registry import Registry

_PARAMS_PER_CALL, _METRICS_PER_CALL = 100, 1000
_MAX_PARAM_CHARS = 500
_MAX_CURVE_POINTS = 2000
_LOGGED = "evaluation_logged"


def find_run(registry: Registry, tags: Mapping[str, str]) -> str | None:
    """Id of the first run with these tags whose evaluation was logged to its end, or None."""
    wanted = {**tags, _LOGGED: "yes"}
    condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
    with registry.calls():
        found = registry.client.search_runs(
            [registry.experiment_id], condition, max_results=1, order_by=["start_time ASC"]
        )
    return found[0].info.run_id if found else None


def end_killed_runs(registry: Registry, model_name: str) -> None:
    """Say of runs that a killed registration left RUNNING that they were; hold the model's lock.

    In a database of this machine: on a server that many share, another machine may be at work.
    """
    if not registry.is_local:
        return
    condition = f"attributes.status = 'RUNNING' and tags.model_name = '{model_name}'"
    with registry.calls():
        for run in registry.client.search_runs([registry.experiment_id], condition):
            registry.client.set_terminated(run.info.run_id, "KILLED")


@contextmanager
def tracked_run(registry: Registry, *, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """A run that ends FINISHED, or FAILED if the block raises; yields its id."""
    with registry.calls():
        run = registry.client.create_run(registry.experiment_id, tags=dict(tags), run_name=name)
    status = "FAILED"
    try:
        yield run.info.run_id
        status = "FINISHED"
    finally:
        with registry.calls():
            registry.client.set_terminated(run.info.run_id, status)


def log_evaluation(
    registry: Registry,
    run_id: str,
    *,
    report: EvaluationReport,
    gates: Sequence[Gate],
    history: Mapping[str, Any],
    lineage: Mapping[str, Any],
    evaluation: Path,
) -> None:
    """Everything but the model: it is logged whether the gates pass or not; a tag says when done.

    Args:
        history: the delivered student's history.json.
        lineage: see `tasks.serving.registry.lineage`.
        evaluation: the evaluation artifact's folder.
    """
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    client = registry.client
    # A run refuses a second value for a name, so the nearest artifact of that name is kept.
    named: dict[str, str] = {}
    for key, value in _params(report, lineage):
        named.setdefault(key, value)
    params = [Param(key, value) for key, value in named.items()]
    figures = [*_figures(report), *((f"gate/{gate.name}", gate.value) for gate in gates)]
    metrics = [Metric(key, value, now, 0) for key, value in figures if value is not None]
    metrics = [metric for metric in metrics if math.isfinite(metric.value)]
    metrics += [Metric(key, value, now, step) for key, value, step in _curves(history)]
    with registry.calls():
        for start in range(0, len(params), _PARAMS_PER_CALL):
            client.log_batch(run_id, params=params[start : start + _PARAMS_PER_CALL])
        for start in range(0, len(metrics), _METRICS_PER_CALL):
            client.log_batch(run_id, metrics=metrics[start : start + _METRICS_PER_CALL])
        for path in sorted(evaluation.iterdir()):
            if path.is_dir():
                client.log_artifacts(run_id, str(path), f"evaluation/{path.name}")
            elif path.name.startswith("report."):
                client.log_artifact(run_id, str(path), "evaluation")
        client.set_tag(run_id, _LOGGED, "yes")  # last: without it, the run is one of a killed try


def _params(report: EvaluationReport, lineage: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "recipe", report.recipe
    yield "problem", report.problem
    yield "source_language", report.source_language
    yield "target_language", report.target_language
    for entry in lineage["artifacts"]:
        if entry["stage"] in ("student", "teacher", "tokens"):
            # The step's name, not the stage's: several students of one stage are compared.
            for key, value in _flat(entry["config"], entry["name"]):
                yield key, redact(str(value))[:_MAX_PARAM_CHARS]


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}")
    else:
        yield prefix, json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _figures(report: EvaluationReport) -> Iterator[tuple[str, float | None]]:
    for name, system in report.systems.items():
        for metric, value in system.mean.items():
            yield f"{name}/{metric}", value
        yield f"{name}/num_parameters", system.num_parameters
        yield f"{name}/size_bytes", system.size_bytes
        yield f"{name}/latency_ms_p50", system.latency_ms_p50
        yield f"{name}/throughput_texts_per_second", system.throughput_texts_per_second
    for one in (*report.comparisons, *report.delivered_comparisons):
        for part in ("difference", "low", "high"):
            yield f"{one.name}/{one.metric}/{part}", getattr(one, part)
    for one in report.retention:
        if one.against == report.reference:
            yield f"retention/{one.metric}", one.value
    for name, variant in report.variants.items():
        figures = variant.model_dump()
        for metric, value in {**figures.pop("scores"), **figures}.items():
            yield f"variant/{name}/{metric}", value


def _curves(history: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    for kind, prefix in (("steps", "train"), ("validations", "validation")):
        points = history[kind]
        # A curve of 100,000 steps tells no more than 2,000 of them, and costs 50 times the calls.
        stride = max(1, math.ceil(len(points) / _MAX_CURVE_POINTS))
        for point in points[::stride]:
            for key, value in point.items():
                if key != "step" and _finite(value):
                    yield f"{prefix}/{key}", float(value), int(point["step"])


def _finite(value: object) -> bool:
    """MLflow keeps infinities as 1.8e308, which then spoils every chart."""
    return isinstance(value, (int, float)) and math.isfinite(value)
