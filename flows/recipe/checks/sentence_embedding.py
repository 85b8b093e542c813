"""What a recipe of sentence embeddings must say, and what it cannot use.

Its teacher is used as it is and nothing has a label, so whatever fine-tunes a teacher, reads
classes or weighs labels has no place in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.corpus.sources.source import FileSource

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe

_MISSING = (
    "distillation.terms is missing: sentence_embedding compares vectors, not classes; give "
    "distillation: {terms: [{kind: embedding_mse}]}, perhaps with {kind: embedding_contrast}"
)


def check_sentence_embedding(recipe: Recipe) -> None:
    """Refuse what has no meaning without labels, or with a teacher that is not trained.

    Raises: ValueError saying what to leave out or to give.
    """
    student, teacher = recipe.student, dict(recipe.teacher)
    if not recipe.distillation.terms:
        raise ValueError(_MISSING)
    adapts_teacher = recipe.adaptation is not None and "teacher" in recipe.adaptation.models
    given = {
        "teacher.training": teacher["training"] is not None,
        "teacher.adversary": teacher["adversary"] is not None,
        "adaptation.models: teacher": adapts_teacher,
        "co_teachers": bool(recipe.co_teachers),
        "mutual": recipe.mutual is not None,
        "student.matching": bool(student.matching),
        "student.adversary": student.adversary is not None,
        "student.ema": student.ema is not None,
        "student.training.class_weights": student.training.class_weights != "none",
        "student.training.label_smoothing": bool(student.training.label_smoothing),
    }
    if unusable := [name for name, is_given in given.items() if is_given]:
        raise ValueError(
            f"{unusable[0]} is given, but sentence_embedding has no labels and one teacher, whose "
            "vectors are used as they are: leave it out"
        )
    trained = ("pseudo_labels", "supervised", "zero_shot")
    if labelled := [name for name in trained if dict(recipe.baselines)[name]]:
        raise ValueError(
            f"baselines.{labelled[0]} is on, but sentence_embedding has no labels to train it on: "
            "set baselines: {pseudo_labels: false, supervised: false}"
        )
    _check_scores(recipe)


def _check_scores(recipe: Recipe) -> None:
    """Scored pairs are correlated for teacher and student, or for neither."""
    sources = recipe.corpus_config().sources
    scored = {s.language for s in sources if isinstance(s, FileSource) and s.columns.score}
    readers = {"student": recipe.student_languages[:1], "teacher": recipe.teacher_languages}
    for reader, languages in readers.items():
        if scored and not scored.intersection(languages):
            raise ValueError(
                f"test rows with a score are in {', '.join(sorted(scored))}, none of which the "
                f"{reader} is tested in ({', '.join(languages)}): give such rows in both "
                "languages, or take columns.score out"
            )
