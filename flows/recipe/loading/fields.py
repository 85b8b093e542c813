"""What fields a kind of recipe has at a place, told from its models: for errors and for merging.

A place is a path of keys such as ("student", "architecture", "num_layers"). Where a section may
take several shapes (a union), the fields of all of them count, or of the one whose tag is in the
path.
"""

from __future__ import annotations

import typing
from types import NoneType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flows.recipe.recipe import Recipe
from flows.recipe.seq2seq import Seq2SeqRecipe
from tasks.modeling.encoder_decoder.config import Seq2SeqProblemName

Location = tuple[int | str, ...]


def recipe_kind(values: dict[str, Any]) -> type[Recipe] | type[Seq2SeqRecipe]:
    """The kind of recipe that `values` spell, by their `problem`."""
    written = values.get("problem") in typing.get_args(Seq2SeqProblemName)
    return Seq2SeqRecipe if written else Recipe


def known_fields(kind: type[BaseModel], location: Location) -> set[str]:
    """Names of the fields of the section at `location`."""
    return {name for model in models_at(kind, location) for name in model.model_fields}


def description(kind: type[BaseModel], location: Location) -> str:
    """What the field at `location` is for; empty if there is none."""
    for model in models_at(kind, location[:-1]):
        field = model.model_fields.get(str(location[-1]))
        if field and field.description:
            return field.description
    return ""


def known_values(kind: type[BaseModel], location: Location) -> list[str]:
    """The words that the field at `location` may have, or an item of it; empty if any may be."""
    while location and str(location[-1]).isdecimal():
        location = location[:-1]
    if not location:
        return []
    # The problem decides the kind of recipe: a misspelt one may have been meant for the other.
    kinds = (Recipe, Seq2SeqRecipe) if location == ("problem",) else (kind,)
    annotations = [field.annotation for one in kinds for field in _fields_at(one, location)]
    return list(dict.fromkeys(word for one in annotations for word in _words_in(one)))


def takes_null(kind: type[BaseModel], location: Location) -> bool:
    """Whether null is a value of the field at `location`."""
    return any(_holds_none(field.annotation) for field in _fields_at(kind, location))


def is_field(kind: type[BaseModel], location: Location) -> bool:
    """Whether there is a field of that name at `location`."""
    return bool(_fields_at(kind, location))


def is_required(kind: type[BaseModel], location: Location) -> bool:
    """Whether the field at `location` has no default."""
    return any(field.is_required() for field in _fields_at(kind, location))


def default_value(kind: type[BaseModel], location: Location) -> Any:
    """What the field at `location` is if it is left out; None also if it must be given."""
    fields = [field for field in _fields_at(kind, location) if not field.is_required()]
    return next((field.default for field in fields), None)


def _fields_at(kind: type[BaseModel], location: Location) -> list[FieldInfo]:
    name = str(location[-1])
    models = models_at(kind, location[:-1])
    return [model.model_fields[name] for model in models if name in model.model_fields]


def models_at(kind: type[BaseModel], location: Location) -> list[type[BaseModel]]:
    """The models that the section at `location` may be of."""
    models: list[type[BaseModel]] = [kind]
    for item in location:
        fields = [model.model_fields[item] for model in models if item in model.model_fields]  # type: ignore[index]
        if fields:
            models = [model for field in fields for model in models_in(field.annotation)]
        elif tagged := [model for model in models if _has_tag(model, item)]:
            models = tagged
    return models


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models named anywhere in a field's annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in models_in(part)]


def _holds_none(annotation: Any) -> bool:
    if annotation is NoneType:
        return True
    # Only unions and their wrappers: a list of optional items is not itself optional.
    origin = typing.get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, (list, tuple, dict)):
        return False
    return any(_holds_none(part) for part in typing.get_args(annotation))


def _words_in(annotation: Any) -> list[str]:
    """The texts of all literals in an annotation, outside the models in it."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return [part for part in parts if isinstance(part, str)]
    return [word for part in parts for word in _words_in(part)]


def _has_tag(model: type[BaseModel], tag: object) -> bool:
    """Whether `tag` is a value that a Literal field of `model` allows (its union's tag)."""
    return any(tag in typing.get_args(field.annotation) for field in model.model_fields.values())
