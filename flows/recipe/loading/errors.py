"""What pydantic finds wrong in a recipe, in words: which field and value, which rule, what to do.

    an unknown field                     the fields of its section, and the closest of them
    an unknown kind, or another choice   all that there are, and the closest
    any other value                      what it should be (`recipe_remedies`), and what for

Nothing is corrected in silence: the closest name is asked about, never taken.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from data_contracts.errors import RecipeError
from flows.recipe.loading.fields import (
    description,
    is_required,
    known_fields,
    known_values,
    models_at,
    recipe_kind,
)
from flows.recipe.loading.remedies import wording

_MAX_ERRORS = 8
_MAX_VALUE_CHARS = 80
_ONE_OF_THEM = "name one of them"
_NO_KIND = ("union_tag_invalid", "union_tag_not_found")


class _Found(NamedTuple):
    """One thing that is wrong; rule and remedy may be empty."""

    fact: str
    rule: str = ""
    remedy: str = ""


def refusal(errors: Sequence[ErrorDetails], values: dict[str, Any], name: str) -> RecipeError:
    """The error that tells a person what pydantic found.

    Args:
        errors: at least one, of the recipe that `values` spell.
        name: of the recipe, as it was asked for.
    """
    kind = recipe_kind(values)
    errors = [error for error in errors if not _is_of_refused_items(error)] or errors
    # Each shape that a field may take has an error of its own: the field is told of once.
    places = dict.fromkeys(tuple(_readable_path(error, values)) for error in errors)
    told = [_told(error, kind, values) for error in errors[:_MAX_ERRORS]]
    facts = list(dict.fromkeys(found.fact for found in told))
    if len(errors) > _MAX_ERRORS:
        facts.append(f"and {len(errors) - _MAX_ERRORS} more")
    rules = _each_once(found.rule for found in told)
    remedies = "; ".join(_each_once(found.remedy for found in told))
    remedy = remedies or "correct the recipe, or the --set that changed it"
    if len(facts) == 1:
        return RecipeError(f"recipe {name}: {facts[0]}", rule=" ".join(rules), remedy=remedy)
    fields = "1 field" if len(places) == 1 else f"{len(places)} fields"
    lines = "\n        ".join([f"recipe {name}, {fields}:", *facts])
    return RecipeError(lines, rule="\n        ".join(rules), remedy=remedy)


def shown(value: object) -> str:
    """A value as a person wrote it, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[: _MAX_VALUE_CHARS - 1]}…"


def _is_of_refused_items(error: ErrorDetails) -> bool:
    """Whether a list is called too short only because of items that are told of themselves."""
    given = error["input"]
    return (
        error["type"] == "too_short"
        and isinstance(given, list)
        and len(given) >= error.get("ctx", {})["min_length"]
    )


def _told(error: ErrorDetails, kind: type[BaseModel], values: dict[str, Any]) -> _Found:
    path = _readable_path(error, values)
    if error["type"] in _NO_KIND:
        return _of_unknown_kind(error, kind, path)
    if error["type"] == "literal_error" and path and (known := known_values(kind, tuple(path))):
        fact = f"{'.'.join(path)} = {shown(error['input'])} is none of: {', '.join(known)}"
        close = _closest(error["input"], known)
        return _Found(fact, _meaning(error, kind, path), close or _ONE_OF_THEM)
    if error["type"] == "extra_forbidden":
        known = sorted(known_fields(kind, error["loc"][:-1]))
        section = ".".join(path[:-1]) or "the recipe"
        return _Found(
            f"{'.'.join(path)} is not a field",
            f"the fields of {section} are: {', '.join(known)}",
            _closest(error["loc"][-1], known, before=path[:-1]) or f"take {path[-1]} out",
        )
    if error["type"] == "missing":
        rule = description(kind, error["loc"]) or "this field is required"
        return _Found(f"{'.'.join(path)} is missing", rule, f"add {'.'.join(path)}")
    message = error["msg"].removeprefix("Value error, ")
    if not path or error["type"] == "value_error":
        return _Found(f"{'.'.join(path)}: {message}" if path else message)
    place = error["loc"]
    said = wording(
        error,
        ".".join(path),
        # Of a section of several shapes pydantic's place ends in one of their tags.
        required=is_required(kind, place) or is_required(kind, tuple(path)),
        of_sections=bool(models_at(kind, place)),
    )
    fact = f"{'.'.join(path)} = {shown(error['input'])}: {said.complaint}"
    return _Found(fact, _meaning(error, kind, path), said.remedy)


def _of_unknown_kind(error: ErrorDetails, kind: type[BaseModel], path: list[str]) -> _Found:
    """A section of one of several kinds that says none of them."""
    told = error.get("ctx", {})
    field = told["discriminator"].strip("'")
    place = ".".join([*path, field])
    known = known_values(kind, (*path, field))
    rule = f"{field} of {'.'.join(path)} is one of: {', '.join(known)}"
    if "tag" in told:
        close = _closest(told["tag"], known)
        return _Found(f"{place} = {shown(told['tag'])} is not known", rule, close or _ONE_OF_THEM)
    given = error["input"] if isinstance(error["input"], dict) else {}
    close = difflib.get_close_matches(field, [str(key) for key in given], n=1)
    remedy = f"did you mean {field}, not {close[0]}?" if close else f"name one of them as {place}"
    return _Found(f"{place} is missing", rule, remedy)


def _meaning(error: ErrorDetails, kind: type[BaseModel], path: list[str]) -> str:
    meaning = description(kind, error["loc"]) or description(kind, tuple(path))
    return f"{path[-1]}: {meaning}" if meaning else ""


def _closest(given: object, known: Iterable[str], *, before: Sequence[str] = ()) -> str:
    """The question whether the closest of `known` was meant; empty if none is close."""
    close = difflib.get_close_matches(str(given), list(known), n=1)
    return f"did you mean {'.'.join([*before, close[0]])}?" if close else ""


def _each_once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))


def _readable_path(error: ErrorDetails, values: Any) -> list[str]:
    """Where an error is, without the union tags that pydantic puts between what a user wrote."""
    location = error["loc"]
    path: list[str] = []
    holder = values
    for number, item in enumerate(location):
        try:
            holder = holder[item]
        except (KeyError, IndexError, TypeError):
            # A union's tag or member, unless it is the last of a field that should be there.
            if number < len(location) - 1 or error["type"] != "missing":
                continue
        path.append(str(item))
    return path
