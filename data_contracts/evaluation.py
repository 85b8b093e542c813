"""What an evaluation says: `report.json` as typed, frozen records.

    EvaluationReport
    ├── metrics      what the scores are called and mean; the first is the primary one
    ├── systems      teacher, student, the same student without distillation, bounds and floors
    ├── classes      precision, recall, F1 and support per class, for the delivered student
    ├── groups       scores on parts of the test set, such as one domain, and by language
    ├── curves       how a score follows something else, such as the share of answers given
    ├── comparisons  differences between systems (means over paired seeds), each with an interval
    ├── retention    student's score as a share of a teacher's
    ├── variants     the files that are delivered: safetensors, int8 ONNX
    ├── delivered_comparisons  those very files minus the teacher: what the gates ask about
    ├── speed        teacher and student timed in turns on one machine
    ├── calibration, diagnostics, confusions, data, lineage
    ├── agreement_by_language  teacher and delivered student on the test rows of each language
    ├── learning     loss terms' shares in the gradient, drift of a teacher that learns along
    ├── warnings     what looks wrong with the delivered student, and the likely cause
    └── notes        sentences the recipe's author wants every reader to see

The registration gates, the result table of the command line and the model card read this, so a
figure is measured once and quoted everywhere. Scores are fractions (0.95, not 95; BLEU too);
intervals cover the sampling of the test examples. The report holds example ids and counts, never a
user's text.
"""

from __future__ import annotations

from collections.abc import Container
from typing import ClassVar, Literal, TypeAlias

from pydantic import Field

from data_contracts.artifacts import Frozen, WithLaterFields

FORMAT_VERSION = 2
TEACHER = "teacher"
TEACHER_ON_TARGET = "teacher_on_target"

SystemKind = Literal["teacher", "student", "no_kd", "zero_shot", "supervised", "floor"]
Scores: TypeAlias = dict[str, float]
"""Scores by the name of their metric, fractions."""


class Metric(Frozen):
    """One figure every system is scored with."""

    name: str = Field(description="its key in every `Scores`")
    display: str = Field(description="its name in a sentence, such as macro-F1")
    compared: bool = Field(
        default=True, description="whether differences and retention are computed, with intervals"
    )
    tabled: bool = Field(default=True, description="whether the result table has its column")
    meaning: str = Field(default="", description="how it is computed, in one sentence")
    signature: str = Field(
        default="", description="settings another program needs to repeat it, such as sacreBLEU's"
    )


class SystemResult(Frozen):
    """One system: what it is, how well it answers, how large and how fast it is."""

    display: str = Field(description="its name for a reader")
    kind: SystemKind
    language: str = Field(description="BCP-47 language of its test set")
    num_examples: int = Field(ge=0, description="labelled test examples it was scored on")
    seeds: tuple[Scores, ...] = Field(min_length=1, description="one entry a training seed")
    mean: Scores = Field(description="mean over seeds")
    sd: Scores | None = Field(
        description="sample standard deviation over seeds (ddof = 1); None for a single seed"
    )
    num_parameters: int | None = Field(
        default=None, description="trainable and frozen, all counted"
    )
    size_bytes: int | None = Field(default=None, description="weight files, without the tokenizer")
    latency_ms_p50: float | None = Field(default=None, description="batch 1, milliseconds")
    latency_ms_p95: float | None = Field(default=None, description="batch 1, milliseconds")
    throughput_texts_per_second: float | None = None


class ClassRow(Frozen):
    """One line of the class table."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int = Field(ge=0, description="test examples with this label")


class ClassTable(Frozen):
    """Precision, recall, F1 and support per class, with their averages."""

    system: str = Field(description="whose decisions these are, for example `student`, seed 0")
    accuracy: float | None = Field(
        description="share of examples decided rightly; None where a row holds many decisions"
    )
    unit: str = Field(default="class", description="what a row is about: class, entity type")
    rows: tuple[ClassRow, ...]
    micro: ClassRow
    macro: ClassRow
    weighted: ClassRow


class Group(Frozen):
    """Scores on one part of a test set, or in one language; means over seeds."""

    column: str = Field(
        description="what the set was parted by: domain, domain (en) of the teacher's own, "
        "language, answer, a length"
    )
    value: str
    num_examples: int = Field(ge=1)
    scores: dict[str, Scores] = Field(description="by system")


class Curve(Frozen):
    """How a score follows something else, of all systems on the same test set; y is a fraction."""

    name: str = Field(pattern="^[a-z_]+$", description="of its plot's file")
    title: str
    caption: str = Field(description="how to read it, in a sentence")
    x: str = Field(description="what the first number of a point is")
    x_is_share: bool = Field(description="whether x is a fraction too, not a number of things")
    y: str = Field(description="what the second number of a point is")
    points: dict[str, tuple[tuple[float, float], ...]] = Field(description="by system, x rising")


class Comparison(Frozen):
    """A difference between two systems, `of` minus `against`, with its interval.

    Paired: both answered the same examples, which are resampled together. Not paired: two test sets
    are resampled on their own, so the interval is wider.
    """

    name: str = Field(description="`<of>_minus_<against>`; unique together with `metric`")
    of: str
    against: str
    metric: str
    difference: float
    low: float
    high: float
    confidence: float = Field(gt=0, lt=1)
    num_examples: int = Field(description="test examples of `of`")
    num_examples_against: int = Field(description="test examples of `against`")
    paired: bool
    p_value: float | None = Field(
        description="primary metric of paired systems: exact McNemar test (accuracy, one seed "
        "each), otherwise a permutation test"
    )


class Retention(Frozen):
    """The student's score divided by a teacher's, with its interval."""

    against: str = Field(default=TEACHER, description="name of the system it is a share of")
    metric: str
    value: float
    low: float
    high: float
    confidence: float
    paired: bool = Field(description="False: student and teacher were tested on different examples")
    num_examples_student: int
    num_examples_teacher: int


class CalibrationBin(Frozen):
    """One bin of a reliability diagram: confidences in (lower, upper]."""

    lower: float
    upper: float
    count: int
    mean_confidence: float | None
    accuracy: float | None


class Calibration(Frozen):
    """Calibration of one system's top-1 confidence."""

    ece: float
    bins: tuple[CalibrationBin, ...]


class Variant(Frozen):
    """One delivered form of the student: seed 0's weights in one file format."""

    scores: Scores = Field(description="by metric; those of confidences may be missing")
    size_bytes: int
    latency_ms_p50: float
    latency_ms_p95: float
    throughput_texts_per_second: float
    agreement: float = Field(description="share of test texts answered like the safetensors form")


class Speed(Frozen):
    """How the times were taken, and the ratio that matters."""

    processor: str
    num_threads: int
    batch_size: int = Field(description="of the throughput rounds; latency is at batch 1")
    num_texts: int = Field(description="texts a system reads in each throughput round")
    rounds: int
    student_over_teacher: float = Field(description="median over rounds of the throughput ratio")
    lowest_ratio: float
    highest_ratio: float
    includes: str


class Diagnostics(Frozen):
    """What the teacher's signals looked like and how far the student followed them."""

    rows: str = Field(description="which rows the agreement below was measured on")
    num_rows: int
    decided: str = Field(
        default="class", description="what both choose: class, set of classes, answer"
    )
    agreement: float = Field(description="share of rows where both choose the same")
    agreement_by_class: dict[str, float] = Field(
        description="by the class that the teacher chose; of sets, where it chose that class among "
        "others; of answers, by whether it found one"
    )
    teacher_entropy_nats: float = Field(
        description="mean entropy of the teacher on those rows; of sets that of one yes/no "
        "decision, of answers that of their start or end"
    )
    teacher_confidence: float = Field(
        description="mean probability of what the teacher chose on those rows; of sets of one "
        "yes/no decision, of answers of the likeliest span"
    )
    pseudo_label_accuracy: float | None = Field(
        description="teacher's accuracy on transfer rows that carry a label; None if none do"
    )


class LanguageAgreement(Frozen):
    """How often the delivered student answers as its teacher does, in one language."""

    language: str
    rows: str = Field(description="which rows it was measured on")
    num_rows: int = Field(ge=1)
    agreement: float = Field(description="share of rows that both answer alike")


class Course(Frozen):
    """One figure at the first, the best and the last validation of a training."""

    name: str
    first: float
    best: float = Field(description="at the step that is delivered")
    last: float


class Learning(Frozen):
    """What was seen while the delivered student learned."""

    first_step: int
    best_step: int
    last_step: int
    shares: tuple[Course, ...] = Field(
        default=(), description="of each loss term in the gradient, fractions; by the term's name"
    )
    drift: tuple[Course, ...] = Field(
        default=(),
        description="of a teacher that learns along: `peer_<k>_<figure>`, a validation figure less "
        "that of its former self, and `peer_<k>_kl`, mean KL(former self || now) in nats",
    )


class Confusion(Frozen):
    """A frequent mistake of the delivered student."""

    label: str
    prediction: str
    count: int
    share: float = Field(description="of the examples with that label")


class DataCount(WithLaterFields):
    """The row equation of one source, in rows."""

    later_fields: ClassVar[tuple[str, ...]] = ("rows_not_taken",)

    source: str
    role: str = Field(description="the role its rows were given for")
    language: str
    rows_not_taken: int = Field(
        default=0, description="left in its files by `where` and `max_rows`: not among rows_in"
    )
    rows_in: int
    rows_out: int
    quarantined: dict[str, int] = Field(description="by reason code")
    deduplicated: dict[str, int] = Field(description="by kind")
    rows_out_by_role: dict[str, int] = Field(
        description="where its rows went: validation and test rows may be cut from labelled ones"
    )
    repairs: dict[str, int] = Field(
        default={}, description="what was mended in rows that stayed, such as repaired_tags"
    )


class LineageEntry(Frozen):
    """One artifact that the evaluation read."""

    name: str
    stage: str
    key: str
    content_digest: str
    locations: dict[str, str] = Field(description="URI -> digest of what the stage loaded")


class Gate(Frozen):
    """One registration gate: what was measured, and against what."""

    name: str
    passed: bool
    value: float | None
    threshold: float | None
    detail: str


class EvaluationReport(Frozen):
    """Everything one evaluation found. See the module's picture."""

    format_version: Literal[2] = FORMAT_VERSION
    recipe: str
    problem: str
    source_language: str
    target_language: str
    delivered: str = Field(
        default="student, seed 0", description="fixed in advance, never the best on the test set"
    )
    metrics: tuple[Metric, ...] = Field(min_length=1, description="the first is the primary one")
    systems: dict[str, SystemResult]
    classes: ClassTable | None = Field(
        default=None, description="None where answers are not of a closed set"
    )
    groups: tuple[Group, ...] = ()
    curves: tuple[Curve, ...] = ()
    comparisons: tuple[Comparison, ...] = Field(
        description="of the method: a system with several seeds counts as the mean over them"
    )
    delivered_comparisons: tuple[Comparison, ...] = Field(
        default=(),
        description="of what ships: `of` is a name in variants (seed 0), `against` the teacher, "
        "on the same examples if it reads the target language",
    )
    retention: tuple[Retention, ...]
    variants: dict[str, Variant]
    speed: Speed
    calibration: dict[str, Calibration] = Field(description="empty where there are no confidences")
    diagnostics: Diagnostics | None = Field(description="None where answers cannot be compared")
    agreement_by_language: tuple[LanguageAgreement, ...] = Field(
        default=(),
        description="the target language first; languages that only one reads are left out",
    )
    learning: Learning | None = Field(
        default=None, description="None where there is one loss term and no teacher that learns"
    )
    confusions: tuple[Confusion, ...] = Field(description="most frequent first")
    data: tuple[DataCount, ...]
    lineage: tuple[LineageEntry, ...]
    warnings: tuple[str, ...] = Field(
        default=(), description="rules of thumb: a reason to look, no verdict"
    )
    notes: tuple[str, ...] = ()

    @property
    def primary(self) -> Metric:
        """The metric that gates, headlines and plots are about."""
        return self.metrics[0]

    @property
    def reference(self) -> str:
        """The teacher's name to compare what ships with: on the target language if it reads it."""
        return reference_teacher(self.systems)

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        return next(metric for metric in self.metrics if metric.name == name)

    def comparison(self, name: str, metric: str | None = None) -> Comparison | None:
        """The comparison `name` on `metric` (primary if None), or None if it was not made."""
        wanted = metric or self.primary.name
        for comparison in self.comparisons:
            if comparison.name == name and comparison.metric == wanted:
                return comparison
        return None


def reference_teacher(systems: Container[str]) -> str:
    """The teacher that what ships is compared with: on the same examples where that is possible."""
    return TEACHER_ON_TARGET if TEACHER_ON_TARGET in systems else TEACHER


def language_of_texts(problem: str, source_language: str, target_language: str) -> str:
    """The language of the texts that a student is asked about: a translator's is the source."""
    return source_language if problem == "translation" else target_language
