"""What is refused before a recipe runs, plans or is served, and is not wrong in the recipe alone.

A recipe is read anywhere: by a server that has neither its data nor its models. What depends on
this machine, or is asked of whole runs only, is therefore not among its validators.
"""

from __future__ import annotations

from data_contracts.errors import RecipeError
from flows.recipe.base import RecipeBase
from flows.recipe.checks.initialization import check_known_starts
from flows.recipe.checks.layers import check_teacher_layers
from flows.recipe.recipe import Recipe
from tasks.corpus.sources.evaluability import lacking_roles


def check_before_run(recipe: RecipeBase) -> None:
    """Refuse what a run would come to: gates without a figure, layers or test rows there are not.

    Raises: RecipeError
    """
    recipe.check_gates()
    check_before_training(recipe)


def check_before_training(recipe: RecipeBase) -> None:
    """The same but for gates, which a study does not ask: it registers nothing.

    Raises: RecipeError
    """
    _check_known_models(recipe)
    _check_evaluation_rows(recipe)


def _check_evaluation_rows(recipe: RecipeBase) -> None:
    """Refuse sources of which a language has no rows to evaluate on, and none to cut them from.

    Raises: RecipeError naming the sources that the language has.
    """
    from tasks.corpus.rows import ROW_KINDS

    config = recipe.corpus_config()
    kind = ROW_KINDS[config.problem]
    evaluated = kind.evaluated_languages(config.source_language, config.target_language)
    for language in dict.fromkeys(evaluated):
        if lacking := lacking_roles(config.problem, config.sources, language):
            given = [f"{s.name} ({s.role})" for s in config.sources if s.language == language]
            raise RecipeError(
                f"recipe {recipe.name}: of {len(config.sources)} sources none has {language} rows "
                f"for the role {' or '.join(lacking)}, or labelled rows to cut them from; in "
                f"{language} there are: {', '.join(given) or 'none'}",
                rule="teacher and student are each validated and tested in their own language, "
                "which needs labelled text there (sentence_embedding: pairs)",
                remedy=f"add a source with role: {lacking[-1]}, language: {language} and a label "
                "column; a few hundred labelled rows are enough. Unlabelled transfer rows cannot "
                "be evaluated on",
            )


def _check_known_models(recipe: RecipeBase) -> None:
    """Refuse what the pretrained models of `recipe` lack, as far as they are on this machine.

    Raises: RecipeError
    """
    if isinstance(recipe, Recipe):
        check_known_starts(recipe)
        check_teacher_layers(recipe)
