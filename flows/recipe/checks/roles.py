"""Whether the sources hold what a recipe's teachers and students are to be trained on.

A source has a role and a language; models read some languages and are trained on rows of some
roles. Where the two have nothing in common, a step would be told so after those before it have run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.recipe.base import is_labelled
from flows.recipe.checks.languages import languages_offered

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe
    from tasks.corpus.sources.source import Source


def check_roles(recipe: Recipe) -> None:
    """Refuse a recipe without rows for a teacher, for the students, or for a baseline.

    Raises: ValueError saying what there is, or what to give.
    """
    _check_teachers(recipe)
    _check_languages_of_tests(recipe)
    rows = _student_rows(recipe)
    _check_opinions(recipe, rows)
    _check_labels(recipe, rows)


def _check_teachers(recipe: Recipe) -> None:
    sources = recipe.corpus_config().sources
    for name in recipe.teachers:
        languages = recipe.languages_of(name)
        if recipe.problem != "sentence_embedding" and not any(
            s.role == "train" and s.language in languages for s in sources
        ):
            raise ValueError(
                f"no source has the role train and a language of the teacher "
                f"({', '.join(languages)}): the teacher would have nothing to learn from; "
                f"{languages_offered(sources)}"
            )


def _check_languages_of_tests(recipe: Recipe) -> None:
    """Students are tested in the target language, those of zero shot trained on the source's."""
    if recipe.target_language not in recipe.student_languages:
        raise ValueError(
            f"student.languages are {', '.join(recipe.student_languages)}, without the target "
            f"language {recipe.target_language}: the student would be tested on what it cannot "
            "read"
        )
    if recipe.baselines.zero_shot and recipe.source_language not in recipe.student_languages:
        raise ValueError(
            "baselines.zero_shot trains the student on the source language, which it does not "
            f"read: set student.languages to [{recipe.target_language}, {recipe.source_language}]"
        )


def _student_rows(recipe: Recipe) -> list[Source]:
    """Sources whose rows the students are trained on."""
    sources = recipe.corpus_config().sources
    rows = [
        s
        for s in sources
        if s.role in recipe.distillation.train_on and s.language in recipe.student_languages
    ]
    if not rows:
        roles = " or ".join(recipe.distillation.train_on)
        swapped = [
            s.name
            for s in sources
            if s.role in recipe.distillation.train_on
            and s.parallel_language in recipe.student_languages
        ]
        remedy = (
            f"in {', '.join(swapped)} that is the language of parallel_text, which the teacher "
            "reads: swap language and parallel_language there, and the columns with them"
        )
        raise ValueError(
            f"no source has the role {roles} and the language "
            f"{' or '.join(recipe.student_languages)}: the student would have nothing to learn "
            f"from; {remedy if swapped else languages_offered(sources)}"
        )
    return rows


def _check_opinions(recipe: Recipe, rows: list[Source]) -> None:
    """A teacher can read what students learn from, or its translation."""
    readable = {language for name in recipe.teachers for language in recipe.languages_of(name)}
    unread = [
        s.name
        for s in recipe.corpus_config().sources
        if (s.role == "transfer" or s in rows)
        and not {s.language, s.parallel_language} & set(readable)
    ]
    if unread:
        raise ValueError(
            f"the teacher reads {', '.join(readable)}, but its predictions are wanted of "
            f"{', '.join(unread)}, in another language and without parallel text in one of "
            "those: give parallel_text, or a teacher that reads "
            f"{recipe.target_language} (teacher.languages), or leave the source out"
        )


def _check_labels(recipe: Recipe, rows: list[Source]) -> None:
    if recipe.distillation.label_source == "source" and not any(
        s.language == recipe.source_language for s in rows if is_labelled(s)
    ):
        raise ValueError(
            f"distillation.hard_labels is source, but the student reads no labelled row in "
            f"{recipe.source_language}: add it to student.languages and the role train to "
            "distillation.train_on"
        )
    in_target = [s for s in rows if s.language == recipe.target_language]
    if recipe.baselines.supervised and not any(map(is_labelled, in_target)):
        raise ValueError(
            f"baselines.supervised needs gold labels in {recipe.target_language}, but "
            f"{', '.join(s.name for s in in_target) or 'no source'} has none: name a label "
            "column, or set baselines.supervised to false"
        )
