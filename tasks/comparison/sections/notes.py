"""What a reader must know to read a report's figures right, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from data_contracts.evaluation import TEACHER, TEACHER_ON_TARGET
from tasks.comparison.material import Material
from tasks.comparison.problem import ComparedProblem
from tasks.metrics.systems import Answers
from tasks.training.objectives.config import ObjectiveConfig
from tasks.training.optimization.schedules import values_of

_COMBINED = "combined_signals"
_FEW_EXAMPLES = 30  # where all answers are equal, a resample of them cannot differ at all
_WRITTEN = {
    "teacher": "The student learns texts that the teacher wrote (with interpolation the given text "
    "chose among them).",
    "gold": "The student learns the given texts.",
    "both": "The student learns the given texts; of rows without one, what the teacher wrote.",
}


def own_notes(problem: ComparedProblem, answers: Mapping[str, Answers]) -> Iterator[str]:
    """Test sets, what trained the student, what chose its step, what intervals cover."""
    material = problem.material
    metric = problem.measures[0].name
    student, teacher = (answers[name].about(metric) for name in ("student", TEACHER))
    target = material.target_language
    if student.example_ids != teacher.example_ids:
        yield (
            f"Student and teacher were tested on different examples ({student.num_examples} in "
            f"{target}, {teacher.num_examples} in {material.source_language}): their difference "
            "and the retention resample both test sets independently, which widens the intervals."
        )
    if (fewest := min(student.num_examples, teacher.num_examples)) < _FEW_EXAMPLES:
        yield (
            f"Test examples of a system: {fewest}. Intervals are drawn from them alone and are too "
            f"narrow below {_FEW_EXAMPLES} or so: what they call better, or not worse, may be "
            "chance."
        )
    if TEACHER_ON_TARGET in answers:
        yield (
            f"The teacher also answered test rows in {target}: what ships is compared with it "
            "there, and its retention on them is the share of what could be kept."
        )
    signals = material.inputs["teacher_signals"].manifest.key_parts
    if signals.stage == _COMBINED:
        names = signals.config["teachers"]
        yield (
            f"The teacher's scores are those of {len(names)} teachers combined "
            f"({', '.join(names)}); its parameters, size and times are the first one's alone."
        )
    yield _what_taught(material)
    yield (
        "Intervals cover the choice of test examples; the spread over seeds (mean ± standard "
        "deviation) is told beside them and not part of them. Differences between systems are "
        "about how they were trained: means over seeds. The delivered student is seed 0, fixed in "
        "advance, and the gates on what ships are asked of it alone."
    )


def _what_taught(material: Material) -> str:
    """Which labels entered the student's loss, and which rows chose its step."""
    config = material.inputs["student_0"].manifest.key_parts.config
    target = material.target_language
    if learnt := config["objective"].get("targets"):
        asked = material.inputs["teacher_signals"].manifest.key_parts.config.get("targets")
        written = "both" if (learnt, asked) == ("teacher", "gold") else learnt
        return f"{_WRITTEN[written]} {_what_chose('validation texts', config)}."
    terms = ObjectiveConfig.model_validate(config["objective"]).loss_terms
    rows = _choosing_rows(config, target)
    if any(dict(term)["kind"].startswith("embedding_") for term in terms):
        rows = f"the {rows} with their parallel text"
        return f"No label enters the student's loss. {_what_chose(rows, config)}."
    sources = {term.label_source for term in terms if max(values_of(term.weight)) > 0}
    if "gold" in sources or ("source" in sources and material.source_language == target):
        return f"Gold {target} labels enter this student's loss."
    chosen = _what_chose(f"the labelled {rows}", config)
    return f"No {target} label enters the student's loss. {chosen}, for every student alike."


def _what_chose(rows: str, config: Mapping[str, Any]) -> str:
    if config["training"]["selection"] == "last":
        return f"None of {rows} chooses the training step: the last is kept"
    return f"{rows[0].upper()}{rows[1:]} choose the training step that is kept"


def _choosing_rows(config: Mapping[str, Any], target: str) -> str:
    # Networks that teach one another are each examined on rows of their own.
    examined = config if "validation_language" in config else config["peers"][0]
    if examined["validation_language"] is None:
        return "validation rows of all languages that the student reads"
    return f"{target} validation rows"
