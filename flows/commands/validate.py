"""`decant validate`: the recipe's fields and the places it names, without running anything."""

from typing import Annotated

from cyclopts import Parameter

from data_contracts.errors import DecantError, RecipeError
from flows.environment import prepare_environment, quieten
from flows.pipeline import step_names
from flows.recipe_files import read_recipe
from tasks.runtime.locations import local_files, scheme


def validate(
    recipe: str = "quickstart",
    *,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
) -> None:
    """Check a recipe and its sources without running anything.

    Files on this machine must exist; remote ones are not asked for.

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
    chosen.check_gates()
    missing: list[DecantError] = []
    for uri in chosen.locations():
        try:
            if scheme(uri) in ("file", "pkg"):
                local_files(uri)
        except DecantError as error:
            missing.append(error)
    if missing:
        raise RecipeError(
            f"recipe {recipe}: " + "; ".join(error.fact for error in missing),
            rule=missing[0].rule,
            remedy=missing[0].remedy,
        )
    print(f"recipe {chosen.name} is valid: {len(step_names(chosen))} steps")
