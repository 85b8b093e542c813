"""Recipe files: YAML text and `--set a.b=c` overrides become one checked `Recipe`.

Nothing is guessed: an unknown field is refused with the closest known name beside it, and every
error says which field, which value, which rule, and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from data_contracts.errors import RecipeError
from data_contracts.safe_yaml import load_yaml
from flows.recipe.loading.errors import refusal, shown
from flows.recipe.loading.fields import recipe_kind
from flows.recipe.loading.inheritance import SHIPPED as SHIPPED  # where callers look for it
from flows.recipe.loading.inheritance import reading, recipe_values
from flows.recipe.loading.languages import expand_languages
from flows.recipe.recipe import Recipe
from flows.recipe.seq2seq import Seq2SeqRecipe

AnyRecipe = Recipe | Seq2SeqRecipe
"""A recipe of either kind; its `problem` says which."""


def read_recipe(name_or_path: str, overrides: Iterable[str] = ()) -> AnyRecipe:
    """The recipe of that name (shipped) or in that file, with `overrides` applied.

    Args:
        name_or_path: `quickstart`, or the path of a YAML file.
        overrides: `path.to.field=value`; the value is read as YAML, list items are named by index.

    Raises: RecipeError if it cannot be found or read, or is not a valid recipe.
    """
    # Before the overrides: they name a source by its number among all.
    values = expand_languages(recipe_values(name_or_path), name_or_path)
    for override in overrides:
        _apply(values, override)
    return check_recipe(values, name=name_or_path)


def recipe_name(name_or_path: str) -> str:
    """The `name` of a recipe, which need not be there any more if it is given by name.

    Raises: RecipeError if a file is named that is no valid recipe.
    """
    with reading(name_or_path):  # as `find_recipe` looks for it
        path = Path(name_or_path).expanduser()
        is_file = path.suffix in (".yaml", ".yml") or path.is_file()
    return read_recipe(name_or_path).name if is_file else name_or_path


def check_recipe(values: dict[str, Any], *, name: str) -> AnyRecipe:
    """The `Recipe` that `values` spell.

    Raises: RecipeError naming every wrong field.
    """
    values = expand_languages(values, name)
    try:
        recipe = recipe_kind(values).model_validate(values)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False), values, name) from None
    except UnicodeEncodeError as error:  # pydantic's own, of a message that repeats such a text
        raise RecipeError(
            f"recipe {name} holds half a character: {error.object[error.start : error.end]!a}",
            rule="a text is of whole characters; above U+FFFF YAML writes \\UXXXXXXXX",
            remedy="write the character itself",
        ) from None
    read = recipe.model_dump()
    if errors := [*_not_finite(read), *_not_numbers(values, read)]:
        raise refusal(errors, values, name)
    return recipe


def _not_numbers(said: Any, read: Any, place: tuple[int | str, ...] = ()) -> Iterator[ErrorDetails]:
    """Truth values where numbers are read: `patience: yes`, taken for 1, is an order to stop early.

    Args:
        said, read: the recipe's values before and after pydantic.
    """
    if isinstance(said, dict) and isinstance(read, dict):
        for key in (key for key in said if key in read):
            yield from _not_numbers(said[key], read[key], (*place, key))
    elif isinstance(said, list) and isinstance(read, list | tuple):
        for number, (one, other) in enumerate(zip(said, read, strict=False)):
            yield from _not_numbers(one, other, (*place, number))
    elif isinstance(said, bool) and isinstance(read, int | float) and not isinstance(read, bool):
        kind = "float_type" if isinstance(read, float) else "int_type"
        yield ErrorDetails(type=kind, loc=place, msg="not a number", input=said)


def _not_finite(value: Any, place: tuple[int | str, ...] = ()) -> Iterator[ErrorDetails]:
    """Numbers such as YAML's .inf and .nan, which have no place in a key: JSON cannot write them.

    Of the whole recipe, as there is no field for which they mean anything.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, (*place, key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _not_finite(inner, (*place, number))
    elif isinstance(value, float) and not math.isfinite(value):
        yield ErrorDetails(type="finite_number", loc=place, msg="not finite", input=value)


def encoder_recipe(recipe: AnyRecipe) -> Recipe:
    """`recipe` itself, for what there is for encoders alone.

    Raises: RecipeError if it is of an encoder-decoder.
    """
    if isinstance(recipe, Recipe):
        return recipe
    raise RecipeError(
        f"recipe {recipe.name} is of the problem {recipe.problem}",
        rule="studies and designs are of encoders",
        remedy="run it, or compare two runs with --set",
    )


def _apply(values: dict[str, Any], override: str) -> None:
    """Put one `path.to.field=value` into `values`."""
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise RecipeError(
            f"--set {override!r} has no field or no value",
            rule="overrides have the form path.to.field=value",
            remedy="for example: --set student.training.num_epochs=20",
        )
    value = load_yaml(text, name=f"--set {path}", error=RecipeError)
    put(values, path, value, source=f"--set {override}")


def put(values: dict[str, Any], path: str, value: Any, *, source: str) -> None:
    """Set the field at `path.to.field` of `values`, in place; sections left out are made.

    Args:
        source: who asks for it, for errors.
    Raises: RecipeError if the path leads nowhere.
    """
    keys = path.split(".")
    holder: Any = values
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(holder, list):
            if not key.isdecimal() or int(key) >= len(holder):
                raise RecipeError(
                    f"{source}: {'.'.join(keys[:depth])} has no item {key!r}",
                    rule=f"its items are numbered 0 to {len(holder) - 1}",
                    remedy="name an item that is there, or set the whole list",
                )
            place: Any = int(key)
        elif isinstance(holder, dict):
            place = key
        else:
            raise RecipeError(
                f"{source}: {'.'.join(keys[:depth])} is {shown(holder)}, which has no fields",
                rule="each name but the last leads to a section or a list",
                remedy="check the path against the recipe",
            )
        if last:
            holder[place] = value
        elif isinstance(holder, dict):
            # A section that the file leaves out, or empty, is made.
            if holder.get(place) is None:
                holder[place] = {}
            holder = holder[place]
        else:
            holder = holder[place]
