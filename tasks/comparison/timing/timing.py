"""Teacher, student and int8 student timed on real test texts, on the CPU in fp32.

Each reads the test texts of its own language. Throughput is taken in turns, so that its ratio
stands on a shared machine; see `tasks.metrics.latency`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_contracts.evaluation import Speed, Variant
from tasks.comparison.problem import ComparedProblem
from tasks.comparison.timing.formats import INT8_FILE
from tasks.metrics.latency import (
    INCLUDES,
    Latency,
    Text,
    cpu_threads,
    measure_latency,
    measure_throughput,
    processor_name,
)
from tasks.metrics.systems import Answers, scores_by_seed


@dataclass(frozen=True)
class Budget:
    """What timing may cost; fields as in `tasks.evaluation.SpeedConfig`."""

    num_threads: int
    latency_texts: int
    latency_seconds: float
    batch_size: int
    round_texts: int
    max_rounds: int
    rounds_seconds: float


@dataclass(frozen=True)
class Timing:
    """What was measured: `latency` and median `texts_per_second` by name, and the records.

    Names: `teacher`, `safetensors` and, where it exists, `onnx_int8`; all but the teacher are
    `variants`, the forms that ship, whose answers to the test texts are `delivered`.
    """

    latency: dict[str, Latency]
    texts_per_second: dict[str, float]
    speed: Speed
    variants: dict[str, Variant]
    delivered: dict[str, Answers]


def time_systems(problem: ComparedProblem, budget: Budget, *, delivered: Answers) -> Timing:
    """Time the forms, and score the int8 one through its real path from text.

    Args:
        delivered: answers of the delivered student (one seed) to its test rows: what the int8 form
            is compared with.
    """
    with cpu_threads(budget.num_threads):
        return _time_systems(problem, budget, delivered)


def _time_systems(problem: ComparedProblem, budget: Budget, delivered: Answers) -> Timing:
    answerers = problem.answerers(num_threads=budget.num_threads)
    student_texts = problem.timed_texts("student")
    texts = dict.fromkeys(answerers, student_texts)
    texts["teacher"] = problem.timed_texts("teacher")
    latency = {
        name: measure_latency(
            answer, spread(texts[name], budget.latency_texts), max_seconds=budget.latency_seconds
        )
        for name, answer in answerers.items()
    }
    rates = measure_throughput(
        {
            name: (answer, spread(texts[name], budget.round_texts))
            for name, answer in answerers.items()
        },
        batch_size=budget.batch_size,
        max_rounds=budget.max_rounds,
        max_seconds=budget.rounds_seconds,
    )
    medians = {name: float(np.median(found)) for name, found in rates.items()}
    answers = {"safetensors": delivered}
    exported = problem.material.path("export") / "model"
    sizes = {"safetensors": weight_bytes(exported)}
    if int8 := answerers.get("onnx_int8"):
        answers["onnx_int8"] = problem.answer_int8(
            int8, batch_size=budget.batch_size, num_threads=budget.num_threads
        )
        sizes["onnx_int8"] = (exported / INT8_FILE).stat().st_size
    variants = {
        name: Variant(
            scores=scores_by_seed(found, problem.measures)[0],
            size_bytes=sizes[name],
            latency_ms_p50=latency[name].p50_ms,
            latency_ms_p95=latency[name].p95_ms,
            throughput_texts_per_second=medians[name],
            agreement=_agreement(
                *(one.about(problem.measures[0].name) for one in (found, delivered))
            ),
        )
        for name, found in answers.items()
    }
    ratios = rates["safetensors"] / rates["teacher"]
    speed = Speed(
        processor=processor_name(),
        num_threads=budget.num_threads,
        batch_size=budget.batch_size,
        num_texts=len(spread(student_texts, budget.round_texts)),
        rounds=len(ratios),
        student_over_teacher=float(np.median(ratios)),
        lowest_ratio=float(ratios.min()),
        highest_ratio=float(ratios.max()),
        includes=INCLUDES,
    )
    return Timing(latency, medians, speed, variants, answers)


def spread(texts: Sequence[Text], most: int) -> list[Text]:
    """At most `most` texts, evenly spread, so that a file sorted by class is fairly met."""
    chosen = np.unique(np.linspace(0, len(texts) - 1, min(most, len(texts))).astype(np.int64))
    indices: list[int] = chosen.tolist()
    return [texts[i] for i in indices]


def weight_bytes(model: Path) -> int:
    """Bytes of all safetensors files in a model folder."""
    return sum(path.stat().st_size for path in model.glob("*.safetensors"))


def _agreement(found: Answers, delivered: Answers) -> float:
    """Share of examples with the same answer."""
    pairs = zip(found.predictions[0], delivered.predictions[0], strict=True)
    return float(np.mean([one == other for one, other in pairs]))
