"""Figures as sentences. A sign is told plainly, whatever it is; an interval that includes zero is
called what it is: no difference shown by this test set.
"""

from __future__ import annotations

from data_contracts.evaluation import (
    TEACHER,
    TEACHER_ON_TARGET,
    Comparison,
    EvaluationReport,
    Retention,
)

# The languages of the recipes and their neighbours; others go by their BCP-47 tag.
_LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "de": "German", "en": "English", "es": "Spanish",
    "fr": "French", "hi": "Hindi", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sv": "Swedish",
    "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip

_SAME = 1e-9  # means over seeds of equal scores differ in their last bits


def language_name(tag: str) -> str:
    """English name of a BCP-47 tag's language, or the tag itself."""
    return _LANGUAGES.get(tag.split("-")[0].lower(), tag)


def percent(fraction: float, digits: int = 1) -> str:
    """`0.9312` as `93.1 %`."""
    return f"{100 * fraction:.{digits}f} %"


def coverage(fraction: float) -> str:
    """Of an interval: `0.95` as `95 %`, `0.995` as `99.5 %`, never as `100 %`."""
    return f"{100 * fraction:.10g} %"


def points(difference: float, digits: int = 1) -> str:
    """A difference of fractions as signed percentage points: `+0.6`, `−2.1`."""
    text = f"{100 * difference:+.{digits}f}"
    return "0." + "0" * digits if float(text) == 0 else text.replace("-", "−")


def count(number: int) -> str:
    """A large count in three figures: `22.7 M`, `931 k`, `412`."""
    for size, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.{0 if scaled >= 100 else 1}f} {letter}"
    return str(number)


def megabytes(size_bytes: int) -> str:
    """Bytes as decimal megabytes: `90.9 MB`."""
    return f"{size_bytes / 1e6:.{0 if size_bytes >= 1e8 else 1}f} MB"


def interval(low: float, high: float) -> str:
    """An interval of a difference in percentage points: `−0.5 to +1.7`."""
    return f"{points(low)} to {points(high)}"


def finding(comparison: Comparison) -> str:
    """`better`, `worse`, or `no clear difference` if the interval includes zero."""
    if comparison.low > 0:
        return "better"
    return "worse" if comparison.high < 0 else "no clear difference"


def comparison_sentence(comparison: Comparison, report: EvaluationReport) -> str:
    """One comparison in words, with its interval and what that interval allows to say."""
    of, against = (
        _in_sentence(report.systems[name].display) for name in (comparison.of, comparison.against)
    )
    metric = report.metric(comparison.metric).display
    sure = f"{coverage(comparison.confidence)} interval {interval(comparison.low, comparison.high)}"
    if round(comparison.difference, 4) == 0:
        fact = f"The {of} and the {against} have the same {metric}"
    else:
        word = "above" if comparison.difference > 0 else "below"
        size = points(abs(comparison.difference)).lstrip("+")
        fact = f"The {of} is {size} points of {metric} {word} the {against}"
    meaning = {
        "better": "the interval lies above zero",
        "worse": "the interval lies below zero",
        "no clear difference": "the interval includes zero, so this test shows no difference",
    }[finding(comparison)]
    return f"{fact} ({sure}): {meaning}."


def delivered_sentence(comparison: Comparison, report: EvaluationReport) -> str:
    """What ships (seed 0 in one form) against the teacher, in words: what the gate asks about."""
    teacher = _in_sentence(report.systems[comparison.against].display)
    metric = report.metric(comparison.metric).display
    return (
        f"The delivered model ({report.delivered}, {comparison.of}): "
        f"{points(comparison.difference)} points of {metric} against the {teacher} "
        f"({coverage(comparison.confidence)} interval "
        f"{interval(comparison.low, comparison.high)})."
    )


def verdict(report: EvaluationReport) -> tuple[str, ...]:
    """The headline: what was distilled, student against teacher, what distillation gained."""
    student, teacher = report.systems["student"], report.systems[TEACHER]
    metric = report.primary
    source, target = language_name(report.source_language), language_name(report.target_language)
    size = ""
    if student.num_parameters and teacher.num_parameters:
        fewer = round(teacher.num_parameters / student.num_parameters, 1)
        # Of equal size where a model teaches its like, larger where it is the quicker one.
        than = f"{fewer:.1f} times fewer than the teacher's" if fewer > 1 else "the teacher"
        size = (
            f"The student has {count(student.num_parameters)} parameters, {than} "
            f"{count(teacher.num_parameters)}. "
        )
    spread = ""
    if student.sd:
        spread = (
            f" (mean of {len(student.seeds)} seeds, ± {100 * student.sd[metric.name]:.1f}; the one "
            f"delivered, seed 0: {percent(student.seeds[0][metric.name])})"
        )
    reached, from_teacher = percent(student.mean[metric.name]), percent(teacher.mean[metric.name])
    against = report.comparison(f"student_minus_{TEACHER}")
    theirs = "the same" if against and against.paired else "its own"
    if metric.name == "accuracy":
        quality = (
            f"The {target} student answers {reached} of its test examples correctly{spread}, its "
            f"{source} teacher {from_teacher} of {theirs}."
        )
    else:
        quality = (
            f"The {target} student reaches {reached} of {metric.display} on its test "
            f"examples{spread}, its {source} teacher {from_teacher} on {theirs}."
        )
    if on_target := report.systems.get(TEACHER_ON_TARGET):
        known = percent(on_target.mean[metric.name])
        quality += f" On {target} test examples the teacher reaches {known}."
    lost = below_floor(report)
    sentences = [
        quality,
        *([f"{lost[0].upper()}{lost[1:]}."] if lost else []),
        f"{size}On this machine it reads {report.speed.student_over_teacher:.1f} times as many "
        f"texts a second (slowest round {report.speed.lowest_ratio:.1f}, fastest "
        f"{report.speed.highest_ratio:.1f}).",
    ]
    gain = report.comparison("student_minus_pseudo_label")
    if gain is None:
        sentences.append(
            "What distillation gained over hard pseudo-labels was not measured in this run."
        )
    else:
        sentences.append(_gain_sentence(gain, report))
    return tuple(sentences)


def below_floor(report: EvaluationReport) -> str:
    """What a student that is not above the best floor is told; empty if it is, or none was scored.

    Asked of the mean over seeds, by the scores alone; the interval stands beside them. No capital
    and no full stop: part of a line or of a list.
    """
    metric = report.primary
    floors = {
        name: system
        for name, system in report.systems.items()
        if system.kind == "floor" and metric.name in system.mean
    }
    if not floors:
        return ""
    best = max(floors, key=lambda name: floors[name].mean[metric.name])
    reached = report.systems["student"].mean[metric.name]
    floor = floors[best].mean[metric.name]
    if reached - floor > _SAME:
        return ""
    sure = ""
    if found := report.comparison(f"student_minus_{best}"):
        sure = (
            f" (difference {points(found.difference)} points, {coverage(found.confidence)} "
            f"interval {interval(found.low, found.high)})"
        )
    return (
        f"no better than a floor: the student's {metric.display} is {percent(reached)}, that of "
        f"the floor {_in_sentence(floors[best].display)} {percent(floor)}{sure}"
    )


def retention_sentence(retention: Retention, report: EvaluationReport) -> str:
    """Retention in words, and whether both were tested on the same examples."""
    where = ""
    if retention.against == TEACHER_ON_TARGET:
        where = f"{language_name(report.target_language)} "
    same = (
        "on the same examples"
        if retention.paired
        else "each on its own test set, resampled independently"
    )
    return (
        f"The student keeps {percent(retention.value)} of the teacher's {where}"
        f"{report.metric(retention.metric).display} ({coverage(retention.confidence)} interval "
        f"{percent(retention.low)} to {percent(retention.high)}; {same})."
    )


def _gain_sentence(gain: Comparison, report: EvaluationReport) -> str:
    sure = f"{coverage(gain.confidence)} interval {interval(gain.low, gain.high)}"
    size = points(abs(gain.difference)).lstrip("+")
    metric = report.metric(gain.metric).display
    where = "above" if gain.difference >= 0 else "below"
    fact = (
        f"Distilled, the student is {size} points of {metric} {where} the same "
        f"student trained on hard pseudo-labels ({sure})"
    )
    return {
        "better": f"{fact}: a gain, the interval lies above zero.",
        "worse": f"{fact}: a loss, the interval lies below zero.",
        "no clear difference": f"{fact}: the interval includes zero, so no gain is shown.",
    }[finding(gain)]


def _in_sentence(display: str) -> str:
    # An abbreviation keeps its capitals.
    return display if display[:2].isupper() else display[0].lower() + display[1:]
