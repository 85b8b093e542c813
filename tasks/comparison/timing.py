"""Teacher, student and int8 student timed on real test texts, on the CPU in fp32.

Each reads the test texts of its own language. Throughput is taken in turns, so that its ratio
stands on a shared machine; see `tasks.metrics.latency`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_contracts.evaluation import Speed, Variant
from tasks.comparison.material import Material, Reader
from tasks.metrics.answering import Answerer, answer_all, onnx_answerer, torch_answerer
from tasks.metrics.calibration import top_probabilities
from tasks.metrics.classification import classification_table
from tasks.metrics.latency import (
    INCLUDES,
    Latency,
    cpu_threads,
    measure_latency,
    measure_throughput,
    processor_name,
)
from tasks.metrics.systems import Answers
from tasks.problems import load_model


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

    Names: `teacher`, `safetensors`, `onnx_int8`; the last two are `variants`, the forms that ship,
    whose answers to the test texts are `delivered`.
    """

    latency: dict[str, Latency]
    texts_per_second: dict[str, float]
    speed: Speed
    variants: dict[str, Variant]
    delivered: dict[str, Answers]


def time_systems(material: Material, budget: Budget, *, delivered: Answers) -> Timing:
    """Time the three forms, and score the int8 one through its real path from text.

    Args:
        delivered: answers of the delivered student (one seed) to its test rows: what the int8 form
            is compared with.
    """
    with cpu_threads(budget.num_threads):
        return _time_systems(material, budget, delivered)


def _time_systems(material: Material, budget: Budget, delivered: Answers) -> Timing:
    exported = material.path("export") / "model"
    teacher, student = (_reading(material, reader) for reader in ("teacher", "student"))
    answerers: dict[str, Answerer] = {
        "teacher": torch_answerer(load_model(material.path("teacher") / "model"), **teacher),
        "safetensors": torch_answerer(load_model(exported), **student),
        "onnx_int8": onnx_answerer(
            exported / "model.int8.onnx", **student, num_threads=budget.num_threads
        ),
    }
    tests = material.test_rows("student")
    student_texts = material.texts("student", ["test"], tests["example_id"])
    teacher_ids = material.test_rows("teacher")["example_id"]
    texts = dict.fromkeys(answerers, student_texts)
    texts["teacher"] = material.texts("teacher", ["test"], teacher_ids)
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
    int8_logits = answer_all(answerers["onnx_int8"], student_texts, batch_size=budget.batch_size)
    decided, sure = top_probabilities(int8_logits)
    answers = {
        "safetensors": delivered,
        "onnx_int8": replace(delivered, predictions=decided[None], confidences=sure[None]),
    }
    sizes = {
        "safetensors": weight_bytes(exported),
        "onnx_int8": (exported / "model.int8.onnx").stat().st_size,
    }
    variants = {}
    num_classes = len(material.label_names)
    for name, found in answers.items():
        predictions = found.predictions[0]
        scores = classification_table(found.labels, predictions, num_classes=num_classes)
        variants[name] = Variant(
            accuracy=scores.accuracy,
            macro_f1=scores.macro.f1,
            size_bytes=sizes[name],
            latency_ms_p50=latency[name].p50_ms,
            latency_ms_p95=latency[name].p95_ms,
            throughput_texts_per_second=medians[name],
            agreement=float((predictions == delivered.predictions[0]).mean()),
        )
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


def spread(texts: Sequence[str], most: int) -> list[str]:
    """At most `most` texts, evenly spread, so that a file sorted by class is fairly met."""
    chosen = np.unique(np.linspace(0, len(texts) - 1, min(most, len(texts))).astype(np.int64))
    indices: list[int] = chosen.tolist()
    return [texts[i] for i in indices]


def weight_bytes(model: Path) -> int:
    """Bytes of all safetensors files in a model folder."""
    return sum(path.stat().st_size for path in model.glob("*.safetensors"))


def _reading(material: Material, reader: Reader) -> dict:
    facts = material.token_facts(reader)
    return {
        "tokenizer_file": material.path(f"{reader}_tokens") / "tokenizer" / "tokenizer.json",
        "pad_token_id": facts["pad_token_id"],
        "max_length_tokens": facts["max_length_tokens"],
    }
