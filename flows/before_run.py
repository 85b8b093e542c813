"""What is refused before a recipe runs, plans or is served, and is not wrong in the recipe alone.

A recipe is read anywhere: by a server that has neither its data nor its models. What depends on
this machine, or is asked of whole runs only, is therefore not among its validators.
"""

from __future__ import annotations

from flows.layer_fit import check_teacher_layers
from flows.recipe import Recipe
from flows.recipe_base import RecipeBase


def check_before_run(recipe: RecipeBase) -> None:
    """Refuse what hours of training would lead to: gates without a figure, layers that are none.

    Raises: RecipeError
    """
    recipe.check_gates()
    check_known_models(recipe)


def check_known_models(recipe: RecipeBase) -> None:
    """Refuse what the pretrained models of `recipe` lack, as far as they are on this machine.

    Raises: RecipeError
    """
    if isinstance(recipe, Recipe):
        check_teacher_layers(recipe)
