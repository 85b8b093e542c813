"""Evaluation: student, teacher and baselines on their test sets → one report.

    corpus, tokens, teacher_signals, teacher, <trained system>_<seed>, export
        → report.json             data_contracts.evaluation.EvaluationReport: gates and CLI read it
          report.html             the same for people: one file, nothing fetched
          predictions/*.parquet   what was answered and what was right, a system and seed
          predictions/<language>/ the same in further languages that the students read
          statistics/*.parquet    what each example adds to the primary metric's sums
          plots/*.png

The teacher is scored on source-language test rows from its signals (it is run again only to be
timed) and, if it has read them, on target-language ones; students and floors on target-language
test rows. What a problem type compares is in `tasks.comparison.problems`; nothing here knows one by
name. The delivered student is seed 0, fixed in advance. Times are facts about this machine: they
are in the report, so two evaluations of the same models differ in them, and
nothing that is trained depends on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import Field

from data_contracts.artifacts import Artifact, Frozen, StageSummary
from data_contracts.evaluation import (
    TEACHER,
    TEACHER_ON_TARGET,
    DataCount,
    EvaluationReport,
    LineageEntry,
    SystemKind,
    SystemResult,
    language_of_texts,
    reference_teacher,
)
from tasks.modeling.config import EncoderProblem
from tasks.runtime.stages import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    from tasks.comparison.problem import ComparedProblem
    from tasks.comparison.timing.timing import Timing
    from tasks.metrics.systems import Answers

VERSION = 14

_SYSTEMS: dict[str, tuple[SystemKind, str]] = {
    "teacher": ("teacher", "Teacher"),
    "teacher_on_target": ("teacher", "Teacher on the target language"),
    "student": ("student", "Student (distilled)"),
    "pseudo_label": ("no_kd", "Same student (hard pseudo-labels)"),
    "no_kd": ("no_kd", "Same student (no distillation)"),
    "zero_shot": ("zero_shot", "Same student (source labels only, zero-shot)"),
    "supervised": ("supervised", "Same student (gold labels, bound)"),
    "linear_pseudo_label": ("floor", "Linear TF-IDF (pseudo-labels)"),
    "linear_gold": ("floor", "Linear TF-IDF (gold labels)"),
    "cosine_pseudo_label": ("floor", "TF-IDF cosine (pseudo-labels)"),
    "cosine_gold": ("floor", "TF-IDF cosine (gold labels)"),
    "gazetteer_pseudo_label": ("floor", "List of names (pseudo-labels)"),
    "gazetteer_gold": ("floor", "List of names (gold labels)"),
    "similar_sentence": ("floor", "Sentence most like the question"),
    "first_sentence": ("floor", "First sentence"),
    "nearest_reply": ("floor", "Reply to the most similar text"),
    "commonest_reply": ("floor", "Commonest reply"),
    "random_span": ("floor", "Random words"),
    "copied_source": ("floor", "Source copied"),
    "character_ngrams": ("floor", "Shared character n-grams"),
    "majority": ("floor", "Majority class"),
}


Problem = EncoderProblem | Literal["translation", "summarization", "generation"]


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
    problem: Problem = Field(
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
    import numpy as np

    from tasks.comparison.answers import write_predictions, write_statistics
    from tasks.comparison.material import Material
    from tasks.comparison.problem import Settings
    from tasks.comparison.problems import COMPARED
    from tasks.comparison.sections.agreement import agreement_by_language
    from tasks.comparison.sections.languages import (
        InLanguage,
        answers_by_language,
        language_groups,
        language_notes,
    )
    from tasks.comparison.sections.learning import warnings_of
    from tasks.reporting.page import render_report
    from tasks.reporting.plots import draw_plots

    material = Material(inputs, config.source_language, config.target_language)
    settings = Settings(
        train_on=config.train_on,
        linear=config.linear,
        linear_max_texts=config.linear_max_texts,
        num_calibration_bins=config.num_calibration_bins,
        seed=config.seed,
    )
    compare = COMPARED[config.problem]
    problem = compare(material, settings)
    report, answers = _measure(config, problem, workspace)
    by_language: list[InLanguage] = []
    untold: list[str] = []
    asked = language_of_texts(config.problem, config.source_language, config.target_language)
    if asked == config.target_language:  # what is read is told by language, not what is written
        by_language += answers_by_language(lambda one: compare(one, settings), material, answers)
        untold += language_notes(lambda one: compare(one, settings), material)
    groups = (*report.groups, *language_groups(by_language))
    report = report.model_copy(update={"groups": groups, "notes": (*report.notes, *untold)})
    for found in by_language[1:]:
        folder = workspace.output / "predictions" / found.language
        write_predictions(found.problem, found.answers, folder)
    if config.problem in get_args(EncoderProblem):
        there = by_language or [InLanguage(material.target_language, problem, answers)]
        alike = agreement_by_language(there, answers[TEACHER], report.diagnostics)
        report = report.model_copy(
            update={
                "agreement_by_language": tuple(alike),
                "warnings": warnings_of(material, config.problem, config.train_on),
            }
        )
    workspace.progress.say("evaluation: drawing plots and writing the report")
    output = workspace.output
    write_predictions(problem, answers, output / "predictions")
    write_statistics(problem, answers, output / "statistics")
    student = answers["student"]
    has_classes = isinstance(student.labels, np.ndarray)
    decisions = (student.labels, student.predictions[0]) if has_classes else None
    plots = draw_plots(report, decisions, _histories(inputs))
    (output / "plots").mkdir()
    for name, png in plots.items():
        (output / "plots" / f"{name}.png").write_bytes(png)
    text = report.model_dump_json(indent=2) + "\n"
    (output / "report.json").write_text(text, encoding="utf-8")
    page = render_report(report, plots, model_name=config.model_name)
    (output / "report.html").write_text(page, encoding="utf-8")
    return StageSummary(facts=_facts(report))


def _measure(
    config: Config, problem: ComparedProblem, workspace: Workspace
) -> tuple[EvaluationReport, dict[str, Answers]]:
    from tasks.comparison.answers import all_answers
    from tasks.comparison.sections.learning import learning_of
    from tasks.comparison.sections.notes import own_notes
    from tasks.comparison.sections.selective import selective_curves
    from tasks.comparison.timing.timing import Budget, time_systems
    from tasks.metrics import systems as scoring
    from tasks.runtime.machine.device import cpu_count

    material, measures = problem.material, problem.measures
    answers = dict(all_answers(problem, workspace.progress))
    resampling = scoring.Resampling(
        num_resamples=config.num_resamples, confidence=config.confidence, seed=config.seed
    )
    comparisons = tuple(
        comparison
        for against in answers
        if against != "student"
        for comparison in scoring.compare(answers, "student", against, measures, resampling)
    )
    num_threads = config.speed.num_threads or cpu_count()
    workspace.progress.say(f"evaluation: timing with {num_threads} threads")
    budget = Budget(**{**config.speed.model_dump(), "num_threads": num_threads})
    timing = time_systems(problem, budget, delivered=answers["student"].of_seed(0))
    reference = reference_teacher(answers)
    sections = problem.sections(answers)
    report = EvaluationReport(
        recipe=config.recipe,
        problem=config.problem,
        source_language=config.source_language,
        target_language=config.target_language,
        metrics=tuple(measure.metric for measure in measures),
        systems={name: _system(name, found, problem, timing) for name, found in answers.items()},
        classes=sections.classes,
        groups=sections.groups,
        curves=(*sections.curves, *selective_curves(answers, measures[0])),
        comparisons=comparisons,
        delivered_comparisons=tuple(
            comparison
            for form in timing.delivered
            for comparison in scoring.compare(
                {**timing.delivered, reference: answers[reference]},
                form,
                reference,
                measures,
                resampling,
            )
        ),
        retention=tuple(
            entry
            for name in (TEACHER, TEACHER_ON_TARGET)
            if name in answers
            for entry in scoring.retain(
                answers["student"], answers[name], measures, resampling, against=name
            )
        ),
        variants=timing.variants,
        speed=timing.speed,
        calibration=sections.calibration,
        diagnostics=sections.diagnostics,
        learning=learning_of(material),
        confusions=sections.confusions,
        data=tuple(data_counts(material.path("corpus"))),
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
        notes=(*config.notes, *sections.notes, *own_notes(problem, answers)),
    )
    return report, answers


def _system(name: str, answers: Answers, problem: ComparedProblem, timing: Timing) -> SystemResult:
    """The report's record of one system; times only where it was timed (seed 0)."""
    from tasks.comparison.material import TRAINED_SYSTEMS
    from tasks.comparison.timing.timing import weight_bytes
    from tasks.metrics.systems import mean_and_spread, scores_by_seed

    material = problem.material
    seeds = scores_by_seed(answers, problem.measures)
    mean, sd = mean_and_spread(seeds)
    folder = None
    if name in (TEACHER, TEACHER_ON_TARGET):
        folder = material.path(TEACHER)
    elif name in TRAINED_SYSTEMS:
        folder = material.seeds(name)[0].path
    timed = {TEACHER: "teacher", "student": "safetensors"}.get(name)
    latency = timing.latency[timed] if timed else None
    return SystemResult(
        display=_SYSTEMS[name][1],
        kind=_SYSTEMS[name][0],
        language=material.source_language
        if name == TEACHER
        else language_of_texts(problem.name, material.source_language, material.target_language),
        num_examples=answers.num_examples,
        seeds=seeds,
        mean=mean,
        sd=sd,
        num_parameters=_read_json(folder / "training.json")["num_parameters"] if folder else None,
        size_bytes=weight_bytes(folder / "model") if folder else None,
        latency_ms_p50=latency.p50_ms if latency else None,
        latency_ms_p95=latency.p95_ms if latency else None,
        throughput_texts_per_second=timing.texts_per_second[timed] if timed else None,
    )


def _histories(inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Learning curves of the teacher and of every trained system and seed, by input name."""
    from tasks.comparison.material import TRAINED_SYSTEMS

    trained = (TEACHER, *TRAINED_SYSTEMS)
    return {
        name: history
        for name, artifact in inputs.items()
        if name.rstrip("0123456789").rstrip("_") in trained
        # A teacher that is used as it is has no steps.
        and (history := _read_json(artifact.path / "history.json"))["steps"]
    }


def data_counts(corpus: Path) -> Iterator[DataCount]:
    """What counts.json of a corpus says of each source; counts of its problem alone are repairs."""
    for source, counts in _read_json(corpus / "counts.json")["sources"].items():
        repairs = {kind: n for kind, n in counts.items() if kind not in DataCount.model_fields}
        known = {name: found for name, found in counts.items() if name not in repairs}
        yield DataCount(source=source, **known, repairs=repairs)


def _facts(report: EvaluationReport) -> dict[str, float | int | str]:
    """A few figures worth showing beside the stage's name."""
    name = report.primary.name
    facts: dict[str, float | int | str] = {
        f"student_{name}": round(report.systems["student"].mean[name], 4),
        f"teacher_{name}": round(report.systems[report.reference].mean[name], 4),
        "speedup": round(report.speed.student_over_teacher, 1),
    }
    if gain := report.comparison("student_minus_pseudo_label"):
        facts["gain_over_pseudo_labels"] = round(gain.difference, 4)
    return facts


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


STAGE = Stage("evaluation", VERSION, evaluate)
