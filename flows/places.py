"""Whether what a recipe reads on this machine is there: all that is missing, at once and first.

Each step looks for its own files when its turn comes, so a missing teacher would be told after the
corpus is made, and one file of seven at a time. Remote places are not asked for.
"""

from __future__ import annotations

from data_contracts.errors import DecantError, RecipeError
from flows.recipe_base import RecipeBase
from flows.recipe_text import SHIPPED, find_recipe
from tasks.runtime.locations import local_files, scheme


def check_places(recipe: RecipeBase, name_or_path: str) -> None:
    """Refuse a recipe of which files or models are not where it says, if that is this machine.

    Args:
        name_or_path: how the recipe was asked for: those that come with Decant say in their first
            lines where their data are from.

    Raises: RecipeError with all that is not there.
    """
    missing: list[DecantError] = []
    for uri in recipe.locations():
        try:
            if is_here(uri):
                local_files(uri)
        except DecantError as error:
            missing.append(error)
    if not missing:
        return
    remedies = dict.fromkeys(error.remedy for error in missing)
    told = [one for one in remedies if not any(one in more for more in {*remedies} - {one})]
    path = find_recipe(name_or_path)
    if path.parent == SHIPPED:
        told.append(f"the first lines of {path} say how its data are made, and how to name others")
    raise RecipeError(
        f"recipe {recipe.name}: " + "; ".join(error.fact for error in missing),
        rule="; ".join(dict.fromkeys(error.rule for error in missing)),
        remedy="; ".join(told),
    )


def is_here(uri: str) -> bool:
    """Whether `uri` is of this machine: a path, or files of an installed package.

    Raises: SourceError for a scheme that Decant does not read.
    """
    return scheme(uri) in ("file", "pkg")
