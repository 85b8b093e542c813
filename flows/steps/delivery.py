"""The last steps of every pipeline: the student's files, the comparison, the registry."""

from __future__ import annotations

from collections.abc import Mapping

from flows.recipe.base import RecipeBase
from flows.steps.step import Handle, Step
from tasks import evaluation, export, registration


def deliver(
    recipe: RecipeBase,
    step: Step[Handle],
    *,
    corpus: Handle,
    teacher: Handle,
    teacher_tokens: Handle,
    teacher_signals: Handle,
    student_tokens: Handle,
    models: Mapping[str, Handle],
) -> Handle:
    """Export, measure and register the student of seed 0, fixed in advance: never the best on test.

    Args:
        teacher_tokens: the rows on which `teacher` was asked for its signals.
        models: `student_0` and all that it is compared with, as the evaluation names its inputs.
    """
    exported = step(
        "export",
        export.STAGE,
        recipe.export_config(),
        student=models["student_0"],
        tokens=student_tokens,
    )
    report = step(
        "evaluation",
        evaluation.STAGE,
        recipe.evaluation_config(),
        corpus=corpus,
        teacher=teacher,
        teacher_tokens=teacher_tokens,
        teacher_signals=teacher_signals,
        student_tokens=student_tokens,
        export=exported,
        **models,
    )
    return step(
        "registration",
        registration.STAGE,
        recipe.registration_config(),
        export=exported,
        evaluation=report,
    )
