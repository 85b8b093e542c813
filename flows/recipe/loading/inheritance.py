"""The text of a recipe, with what it leaves to another one: `extends`.

    quickstart.yaml                     mine.yaml                 what is run
    name: quickstart                    extends: quickstart       name: mine
    distillation: {alpha: 0.8, …}       name: mine                distillation: {alpha: 0.5, …}
    …                                   distillation:             …
                                          alpha: 0.5

A file states only what differs. Mappings are merged, key by key; lists and plain values replace
the other's. Null is the field's null where it has one, and otherwise takes the other's value away,
so that the default holds. A section that names another `kind` or `init` replaces the other's
whole: the fields of a trained tokenizer mean nothing to a trimmed one.

`extends` names a recipe that comes with Decant, or a YAML file as seen from the file that says so;
that one may extend another. Nothing after this knows of it: keys, records, deployments and studies
see the whole recipe, and are the same as if it had been written out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from data_contracts.errors import RecipeError
from data_contracts.safe_yaml import load_yaml
from flows.recipe.loading.fields import Location, default_value, is_field, recipe_kind, takes_null

SHIPPED = Path(__file__).parents[2] / "recipes"
_EXTENDS = "extends"
_TAGS = ("kind", "init")
_YAML = (".yaml", ".yml")


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with Decant."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def recipe_values(name_or_path: str) -> dict[str, Any]:
    """All values of the recipe of that name (shipped) or in that file, unchecked.

    Raises: RecipeError if it, or a recipe that it extends, cannot be found or read.
    """
    path = find_recipe(name_or_path)
    values = _read(path, name_or_path)
    seen = [path.resolve()]
    texts = [values]
    while _EXTENDS in values:
        path = _extended(values, path)
        if path.resolve() in seen:
            circle = [*seen[seen.index(path.resolve()) :], path]
            raise RecipeError(
                f"recipe {name_or_path} extends itself: {' → '.join(one.stem for one in circle)}",
                rule="extends leads to a recipe that extends none",
                remedy="write out what the recipes share in one of them",
            )
        seen.append(path.resolve())
        values = _read(path, str(path))
        texts.append(values)
    problem = next((text["problem"] for text in texts if "problem" in text), None)
    merged: dict[str, Any] = {}
    for text in reversed(texts):
        said = {key: value for key, value in text.items() if key != _EXTENDS}
        merged = _merge(merged, said, {"problem": problem}, ()) if merged else said
    return merged


def find_recipe(name_or_path: str) -> Path:
    """The file of the recipe of that name or path.

    Raises: RecipeError if there is none, or it cannot be looked for.
    """
    with reading(name_or_path):
        return _found(name_or_path)


def _found(name_or_path: str) -> Path:
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    shipped = SHIPPED / f"{name_or_path}.yaml"
    if path.suffix == "" and path.name == name_or_path and shipped.is_file():
        return shipped
    names = shipped_recipes()
    is_folder = bool(name_or_path) and path.is_dir()
    folder = path if is_folder else path.parent
    beside = {one.stem: str(one) for one in sorted(folder.glob("*")) if one.suffix in _YAML}
    offered = {**{name: name for name in names}, **beside}
    # By the name alone: in a deep folder all paths are alike.
    close = difflib.get_close_matches(path.stem, offered, n=1)
    raise RecipeError(
        f"there is no recipe {name_or_path!r}" + (", which is a folder" if is_folder else ""),
        rule=f"a recipe is the path of a YAML file, or one of: {', '.join(names)}",
        remedy=f"did you mean {offered[close[0]]}?" if close else "check the path",
    )


def _extended(values: dict[str, Any], path: Path) -> Path:
    """The file that the recipe of `values`, itself at `path`, extends."""
    wanted = values[_EXTENDS]
    if not isinstance(wanted, str) or not wanted:
        raise RecipeError(
            f"recipe {path.stem}: extends is {wanted!r}",
            rule="extends is the name of a recipe that comes with Decant, or a YAML file's path",
            remedy="for example: extends: quickstart",
        )
    if "name" not in values:
        raise RecipeError(
            f"recipe {path.stem} extends {wanted} and has no name",
            rule="runs, reports and folders are told apart by name: it is not taken over",
            remedy=f"add a line: name: {path.stem.lower()}",
        )
    if Path(wanted).suffix not in _YAML:
        # A name, and never a file that happens to be called so where the command is given.
        names = shipped_recipes()
        if wanted in names:
            return SHIPPED / f"{wanted}.yaml"
        close = difflib.get_close_matches(wanted, names, n=1)
        raise RecipeError(
            f"recipe {path.stem} extends {wanted!r}, which does not come with Decant",
            rule=f"extends is the path of a .yaml file, or one of: {', '.join(names)}",
            remedy=f"did you mean {close[0]}?" if close else "check the name",
        )
    with reading(wanted):
        found = path.parent / Path(wanted).expanduser()
        if not found.is_file():
            raise RecipeError(
                f"recipe {path.stem} extends {wanted}, but there is no file {found}",
                rule="a path in extends starts at the folder of the file that says so",
                remedy="check the path",
            )
    return found


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Tell why a recipe cannot be read: no permission, no text, or no such user's folder."""
    try:
        yield
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(
            f"recipe {name} cannot be read: {reason}",
            rule="a recipe is a UTF-8 YAML file",
            remedy="check the path and its permissions",
        ) from error


def _read(path: Path, name: str) -> dict[str, Any]:
    with reading(name):
        text = path.read_text(encoding="utf-8")
    values = load_yaml(text, name=f"recipe {name}", error=RecipeError)
    if not isinstance(values, dict):
        kinds = {list: "a list", str: "text", type(None): "nothing"}
        raise RecipeError(
            f"recipe {name} holds {kinds.get(type(values), f'a {type(values).__name__}')}, "
            "not a mapping",
            rule="a recipe is a mapping of sections such as data, teacher and student",
            remedy=f"start from a shipped one: {SHIPPED / 'quickstart.yaml'}",
        )
    return values


def _merge(
    base: dict[Any, Any], said: dict[Any, Any], whole: dict[str, Any], at: Location
) -> dict[Any, Any]:
    """`base` with what `said` says otherwise; neither is changed.

    Args:
        whole: holds the recipe's problem, which decides what fields there are.
        at: where the two are in the recipe.
    """
    merged, kind = dict(base), recipe_kind(whole)
    # Where sections have several shapes, what may be null in one must be given in another.
    within = (*at, *_shape({**base, **said}, kind, at))
    for key, value in said.items():
        old, here = base.get(key), (*within, key)
        if isinstance(value, dict):
            is_same = isinstance(old, dict) and not _is_another(old, value, kind, here)
            merged[key] = _merge(dict(old or {}) if is_same else {}, value, whole, here)
        elif value is None and _means_default(kind, here, key in base):
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def _means_default(kind: type[BaseModel], at: Location, in_base: bool) -> bool:
    """Whether null at `at` leaves the field out; a name that no field has stays and is refused."""
    return not takes_null(kind, at) and (in_base or is_field(kind, at))


def _is_another(
    old: dict[Any, Any], new: dict[Any, Any], kind: type[BaseModel], at: Location
) -> bool:
    """Whether `new` names another shape than `old`, which has the default's if it names none."""
    return any(tag in new for tag in _TAGS) and _shape(new, kind, at) != _shape(old, kind, at)


def _shape(section: dict[Any, Any], kind: type[BaseModel], at: Location) -> tuple[str, ...]:
    """The tags of a section at `at`, those left out by default; of a section without, nothing."""
    said = [section.get(tag) for tag in _TAGS]
    tags = [
        default_value(kind, (*at, tag)) if one is None else one
        for tag, one in zip(_TAGS, said, strict=True)
    ]
    return tuple(tag if isinstance(tag, str) else str(tag) for tag in tags if tag is not None)
