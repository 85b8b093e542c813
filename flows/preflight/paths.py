"""Whether what a recipe reads on this machine is there: all that is missing, at once and first.

Each step looks for its own files when its turn comes, so a missing teacher would be told after the
corpus is made, and one file of seven at a time. Remote places are not asked for.
"""

from __future__ import annotations

from itertools import groupby

from data_contracts.errors import DecantError, RecipeError
from flows.recipe.base import RecipeBase
from flows.recipe.loading.inheritance import SHIPPED, find_recipe
from tasks.runtime.files.locations import local_files, scheme

_NAMED_ONE_BY_ONE = 6


def check_places(recipe: RecipeBase, name_or_path: str) -> None:
    """Refuse a recipe of which files or models are not where it says, if that is this machine.

    Args:
        name_or_path: how the recipe was asked for: those that come with Decant say in their first
            lines where their data are from.

    Raises: RecipeError with all that is not there.
    """
    missing: dict[str, DecantError] = {}
    for uri in recipe.locations():
        try:
            if is_here(uri):
                local_files(uri)
        except DecantError as error:
            missing[uri] = error
    if not missing:
        return
    remedies = dict.fromkeys(error.remedy for error in missing.values())
    told = [one for one in remedies if not any(one in more for more in {*remedies} - {one})]
    path = find_recipe(name_or_path)
    if path.parent == SHIPPED:
        told.append(f"the first lines of {path} say how its data are made, and how to name others")
    raise RecipeError(
        f"recipe {recipe.name}: " + "; ".join(_facts(missing)),
        rule="; ".join(dict.fromkeys(error.rule for error in missing.values())),
        remedy="; ".join(told),
    )


def _facts(missing: dict[str, DecantError]) -> list[str]:
    """What is not there: each by itself if they are few, else those of a folder together."""
    if len(missing) <= _NAMED_ONE_BY_ONE:
        return [error.fact for error in missing.values()]
    facts: list[str] = []
    folders = {uri: uri.rpartition("/")[0] or "." for uri in missing}
    for folder, uris in groupby(sorted(missing, key=folders.__getitem__), folders.__getitem__):
        first, *others = uris
        name = first.rpartition("/")[2]
        here = f"{1 + len(others)} files missing in {folder!r}, {name!r} the first"
        facts.append(here if others else missing[first].fact)
    return facts


def is_here(uri: str) -> bool:
    """Whether `uri` is of this machine: a path, or files of an installed package.

    Raises: SourceError for a scheme that Decant does not read.
    """
    return scheme(uri) in ("file", "pkg")
