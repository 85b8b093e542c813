"""`decant validate`: the recipe's fields, and the places and columns it names; nothing is run."""

from typing import Annotated

from cyclopts import Parameter

from data_contracts.errors import DecantError, RecipeError
from flows.before_run import check_before_run
from flows.environment import prepare_environment, quieten
from flows.pipeline import step_names
from flows.recipe_base import RecipeBase
from flows.recipe_files import read_recipe
from tasks.corpus.sources import FileSource, check_parallel_readable, check_readable
from tasks.runtime.locations import local_files, scheme


def validate(
    recipe: str = "quickstart",
    *,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
) -> None:
    """Check a recipe and its sources without running anything.

    Files on this machine must exist and have the columns that the recipe names, of which the first
    rows are read; remote ones are not asked for. By what the sources say of themselves, each
    language must have rows to evaluate on, and by its config.json, if that is here, a teacher the
    layers that it is compared by.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or path of a YAML file.
    set_
        Change a field, such as student.training.num_epochs=20; may be repeated.
    """
    prepare_environment()
    quieten()
    chosen = read_recipe(recipe, set_)
    check_before_run(chosen)
    _check_places(chosen)
    print(f"recipe {chosen.name} is valid: {len(step_names(chosen))} steps")


def _check_places(recipe: RecipeBase) -> None:
    """Raise RecipeError with all that is not there, or SourceError of a source that is not so."""
    missing: list[DecantError] = []
    for uri in recipe.locations():
        try:
            if _is_here(uri):
                local_files(uri)
        except DecantError as error:
            missing.append(error)
    if missing:
        remedies = dict.fromkeys(error.remedy for error in missing)
        longest = [one for one in remedies if not any(one in more for more in {*remedies} - {one})]
        raise RecipeError(
            f"recipe {recipe.name}: " + "; ".join(error.fact for error in missing),
            rule="; ".join(dict.fromkeys(error.rule for error in missing)),
            remedy="; ".join(longest),
        )
    sources = [one for one in recipe.corpus_config().sources if isinstance(one, FileSource)]
    for source in sources:
        if _is_here(source.uri):
            check_readable(source)
        if source.parallel is not None and _is_here(source.parallel.uri):
            check_parallel_readable(source)


def _is_here(uri: str) -> bool:
    return scheme(uri) in ("file", "pkg")
