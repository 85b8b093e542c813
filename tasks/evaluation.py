"""Evaluation: student, teacher and baselines on their test sets → one report.

    corpus, tokens, teacher_signals, teacher, student_*, pseudo_label_*, supervised_*, export
        → report.json             data_contracts.evaluation.EvaluationReport: gates and CLI read it
          report.html             the same for people: one file, nothing fetched
          predictions/*.parquet   example_id, label, prediction, confidence a system and seed
          plots/*.png

The teacher is scored on source-language test rows from its signals (it is run again only to be
timed), students and floors on target-language test rows. The delivered student is seed 0, fixed in
advance. Times are facts about this machine: they are in the report, so two evaluations of the same
models differ in them, and nothing that is trained depends on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from data_contracts.artifacts import Artifact, Frozen, StageSummary
from data_contracts.evaluation import (
    DataCount,
    EvaluationReport,
    LineageEntry,
    SystemKind,
    SystemResult,
)
from tasks.runtime.stages import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    from tasks.comparison.material import Material
    from tasks.comparison.timing import Timing
    from tasks.metrics.systems import Answers

VERSION = 2

_KINDS: dict[str, SystemKind] = {
    "teacher": "teacher",
    "student": "student",
    "pseudo_label": "no_kd",
    "supervised": "supervised",
    "linear_pseudo_label": "floor",
    "linear_gold": "floor",
    "majority": "floor",
}
_DISPLAYS = {
    "teacher": "Teacher",
    "student": "Student (distilled)",
    "pseudo_label": "Same student (hard pseudo-labels)",
    "supervised": "Same student (gold labels, bound)",
    "linear_pseudo_label": "Linear TF-IDF (pseudo-labels)",
    "linear_gold": "Linear TF-IDF (gold labels)",
    "majority": "Majority class",
}


class SpeedConfig(Frozen):
    """How long may be spent on timing, and on what; all on the CPU in fp32."""

    num_threads: int = Field(
        default=1,
        ge=0,
        description="threads a model is timed with; 1 repeats best on a shared machine, 0: all "
        "cores the process may use",
    )
    latency_texts: int = Field(default=100, ge=1, description="test texts timed one by one")
    latency_seconds: float = Field(
        default=1.5, gt=0, description="seconds a system at most for the above"
    )
    batch_size: int = Field(default=32, ge=1, description="texts a call when throughput is timed")
    round_texts: int = Field(default=64, ge=1, description="texts a system reads in each round")
    max_rounds: int = Field(
        default=7, ge=1, description="rounds in which all systems are timed in turns; odd is best"
    )
    rounds_seconds: float = Field(
        default=5.0, gt=0, description="no further round starts after this many seconds"
    )


class Config(StageConfig):
    """What is compared, how intervals are made, and what the report says beside the figures."""

    recipe: str = Field(description="name of the recipe, the report's title")
    problem: Literal["text_classification"] = Field(
        default="text_classification", description="problem type: decides scores and tables"
    )
    source_language: str = Field(description="BCP-47; the teacher is tested on rows in it")
    target_language: str = Field(description="BCP-47; students are tested on rows in it")
    model_name: str = Field(
        default="", description="registered name, for the report's loading example; empty: none"
    )
    train_on: tuple[Literal["transfer", "train"], ...] = Field(
        default=("transfer",),
        min_length=1,
        description="roles whose target-language texts the floors learn from: the student's own",
    )
    linear: bool = Field(default=True, description="train the linear TF-IDF floors (seconds)")
    linear_max_texts: int = Field(
        default=50_000, ge=10, description="texts the linear floors learn from at most, drawn"
    )
    num_resamples: int = Field(
        default=2000, ge=100, le=100_000, description="bootstrap resamples behind each interval"
    )
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="coverage of the intervals, a fraction"
    )
    num_calibration_bins: int = Field(
        default=15, ge=2, le=100, description="equally wide confidence bins of the ECE"
    )
    seed: int = Field(default=0, ge=0, description="seed of resamples and draws")
    speed: SpeedConfig = Field(default=SpeedConfig(), description="how times are measured")
    notes: tuple[str, ...] = Field(
        default=(), description="plain sentences every reader of the report must see"
    )


def evaluate(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Score, compare, time and report. Inputs and files: see the module.

    Raises: ContractViolation if a test set has no labelled rows or a row has no teacher signal.
    """
    from tasks.comparison.answers import write_predictions
    from tasks.comparison.material import Material
    from tasks.reporting.page import render_report
    from tasks.reporting.plots import draw_plots

    material = Material(inputs, config.source_language, config.target_language)
    report, answers = _measure(config, material, workspace)
    workspace.progress.say("evaluation: drawing plots and writing the report")
    output = workspace.output
    write_predictions(answers, material.label_names, output / "predictions")
    student = answers["student"]
    plots = draw_plots(report, student.labels, student.predictions[0], _histories(inputs))
    (output / "plots").mkdir()
    for name, png in plots.items():
        (output / "plots" / f"{name}.png").write_bytes(png)
    text = report.model_dump_json(indent=2) + "\n"
    (output / "report.json").write_text(text, encoding="utf-8")
    page = render_report(report, plots, model_name=config.model_name)
    (output / "report.html").write_text(page, encoding="utf-8")
    return StageSummary(facts=_facts(report))


def _measure(
    config: Config, material: Material, workspace: Workspace
) -> tuple[EvaluationReport, dict[str, Answers]]:
    from tasks.comparison.answers import floor_answers, teacher_answers, trained_answers
    from tasks.comparison.diagnosis import diagnose_student
    from tasks.comparison.timing import Budget, time_systems
    from tasks.metrics import systems as scoring
    from tasks.runtime.device import cpu_count

    names = material.label_names
    answers = {"teacher": teacher_answers(material)}
    answers.update(trained_answers(material, workspace.progress))
    workspace.progress.say("evaluation: floors and intervals")
    answers.update(
        floor_answers(
            material,
            train_on=config.train_on,
            linear=config.linear,
            max_texts=config.linear_max_texts,
            seed=config.seed,
        )
    )
    resampling = scoring.Resampling(
        num_classes=len(names),
        num_resamples=config.num_resamples,
        confidence=config.confidence,
        seed=config.seed,
    )
    comparisons = tuple(
        comparison
        for against in answers
        if against != "student"
        for comparison in scoring.compare(answers, "student", against, resampling)
    )
    num_threads = config.speed.num_threads or cpu_count()
    workspace.progress.say(f"evaluation: timing with {num_threads} threads")
    budget = Budget(**{**config.speed.model_dump(), "num_threads": num_threads})
    timing = time_systems(material, budget, delivered=answers["student"].of_seed(0))
    bins = config.num_calibration_bins
    report = EvaluationReport(
        recipe=config.recipe,
        problem=config.problem,
        source_language=config.source_language,
        target_language=config.target_language,
        systems={
            name: _system(name, found, material, timing, num_bins=bins)
            for name, found in answers.items()
        },
        classes=scoring.class_table(answers["student"], names, system="student, seed 0"),
        comparisons=comparisons,
        delivered_comparisons=tuple(
            comparison
            for form in timing.delivered
            for comparison in scoring.compare(
                {**timing.delivered, "teacher": answers["teacher"]}, form, "teacher", resampling
            )
        ),
        retention=scoring.retain(answers["student"], answers["teacher"], resampling),
        variants=timing.variants,
        speed=timing.speed,
        calibration={
            name: scoring.calibrate(answers[name], num_bins=bins) for name in ("teacher", "student")
        },
        diagnostics=diagnose_student(material, train_on=config.train_on, seed=config.seed),
        confusions=scoring.frequent_confusions(answers["student"], names),
        data=tuple(_data_counts(material.path("corpus"))),
        lineage=tuple(
            LineageEntry(
                name=name,
                stage=artifact.stage,
                key=artifact.key,
                content_digest=artifact.content_digest,
                locations=artifact.manifest.locations,
            )
            for name, artifact in material.inputs.items()
        ),
        notes=(*config.notes, *_own_notes(material, answers)),
    )
    return report, answers


def _system(
    name: str, answers: Answers, material: Material, timing: Timing, *, num_bins: int
) -> SystemResult:
    """The report's record of one system; times only where it was timed (seed 0)."""
    from tasks.comparison.material import TRAINED_SYSTEMS
    from tasks.comparison.timing import weight_bytes
    from tasks.metrics.systems import mean_and_spread, scores_by_seed

    seeds = scores_by_seed(answers, num_classes=len(material.label_names), num_bins=num_bins)
    mean, sd = mean_and_spread(seeds)
    folder = None
    if name == "teacher":
        folder = material.path("teacher")
    elif name in TRAINED_SYSTEMS:
        folder = material.seeds(name)[0].path
    timed = {"teacher": "teacher", "student": "safetensors"}.get(name)
    latency = timing.latency[timed] if timed else None
    return SystemResult(
        display=_DISPLAYS[name],
        kind=_KINDS[name],
        language=material.source_language if name == "teacher" else material.target_language,
        num_examples=len(answers.labels),
        seeds=seeds,
        mean=mean,
        sd=sd,
        num_parameters=_read_json(folder / "training.json")["num_parameters"] if folder else None,
        size_bytes=weight_bytes(folder / "model") if folder else None,
        latency_ms_p50=latency.p50_ms if latency else None,
        latency_ms_p95=latency.p95_ms if latency else None,
        throughput_texts_per_second=timing.texts_per_second[timed] if timed else None,
    )


def _own_notes(material: Material, answers: Mapping[str, Answers]) -> Iterator[str]:
    """What a reader must know to read the figures right, in plain sentences."""
    student, teacher = answers["student"], answers["teacher"]
    target = material.target_language
    if student.example_ids != teacher.example_ids:
        yield (
            f"Student and teacher were tested on different examples ({len(student.labels)} in "
            f"{target}, {len(teacher.labels)} in {material.source_language}): their difference and "
            "the retention resample both test sets independently, which widens the intervals."
        )
    objective = material.inputs["student_0"].manifest.key_parts.config.get("objective", {})
    if objective.get("hard_labels") == "gold":
        yield f"Gold {target} labels enter this student's loss."
    else:
        yield (
            f"No {target} label enters the student's loss. The labelled {target} validation rows "
            "choose the training step that is kept, for every student alike."
        )
    yield (
        "Intervals cover the choice of test examples; the spread over seeds (mean ± standard "
        "deviation) is told beside them and not part of them. Differences between systems are "
        "about how they were trained: means over seeds. The delivered student is seed 0, fixed in "
        "advance, and the gates on what ships are asked of it alone."
    )
    if "supervised" in answers and "linear_gold" not in answers:
        yield "No linear floor on gold labels: switched off, or too few rows carry a label."


def _histories(inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Learning curves of the teacher and of every trained system and seed, by input name."""
    trained = ("teacher", "student", "pseudo_label", "supervised")
    return {
        name: _read_json(artifact.path / "history.json")
        for name, artifact in inputs.items()
        if name.rstrip("0123456789").rstrip("_") in trained
    }


def _data_counts(corpus: Path) -> Iterator[DataCount]:
    for source, counts in _read_json(corpus / "counts.json")["sources"].items():
        yield DataCount(source=source, **counts)


def _facts(report: EvaluationReport) -> dict[str, float | int | str]:
    """A few figures worth showing beside the stage's name."""
    facts: dict[str, float | int | str] = {
        "student_accuracy": round(report.systems["student"].mean.accuracy, 4),
        "teacher_accuracy": round(report.systems["teacher"].mean.accuracy, 4),
        "speedup": round(report.speed.student_over_teacher, 1),
    }
    if gain := report.comparison("student_minus_pseudo_label"):
        facts["gain_over_pseudo_labels"] = round(gain.difference, 4)
    return facts


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


STAGE = Stage("evaluation", VERSION, evaluate)
