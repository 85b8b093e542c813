"""What is wrong with the value of a recipe's field, and what to write instead, in a writer's words.

pydantic speaks of Python ("a valid tuple", "a dictionary or object to extract fields from");
whoever wrote the YAML reads of lists, sections, numbers and bounds here. What is not in these
tables keeps pydantic's words, and has no remedy of its own.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from pydantic_core import ErrorDetails

_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "of at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "of at most"),
}
_WANTED = {
    "a list": ("tuple_type", "list_type", "set_type"),
    "a section": ("dict_type", "model_type", "model_attributes_type", "mapping_type"),
    "a whole number": ("int_type", "int_parsing", "int_from_float"),
    "a number": ("float_type", "float_parsing"),
    "a finite number": ("finite_number",),
    "true or false": ("bool_type", "bool_parsing"),
    "a text": ("string_type",),
}
_KINDS = {kind: wanted for wanted, kinds in _WANTED.items() for kind in kinds}


class Wording(NamedTuple):
    """How an error is told: what follows the value, and what to do; empty if nothing is known."""

    complaint: str
    remedy: str = ""


def wording(error: ErrorDetails, place: str, *, required: bool, of_sections: bool) -> Wording:
    """The words for what pydantic says of the value at `place`, such as student.training.

    Args:
        required: whether a recipe must have the field.
        of_sections: whether it is a section or a list of sections, if that.
    """
    kind, value, told = error["type"], error["input"], error.get("ctx", {})
    wanted = _KINDS.get(kind, "")
    if value is None and wanted:
        remedy = f"give {place} {wanted}" + ("" if required else ", or leave it out")
        return Wording(f"null is not {wanted}", remedy)
    if kind in _BOUNDS:
        name, word = _BOUNDS[kind]
        return Wording(error["msg"], f"give {place} a number {word} {told[name]:.12g}")
    if kind in ("too_short", "too_long"):
        less_or_more = "at least" if kind == "too_short" else "at most"
        count = told["min_length" if kind == "too_short" else "max_length"]
        asked = f"{less_or_more} {count} item{'' if count == 1 else 's'}"
        return Wording(f"the list has {told['actual_length']} items", f"give {place} {asked}")
    if kind == "string_pattern_mismatch":
        return Wording(error["msg"], f"give {place} a text of that form")
    remedy = {
        "a section": f"write the fields of {place} below it, a line each",
        "a list": f"write the sections of {place} below it, each after a dash"
        if of_sections
        else f"write {place}: [{_as_yaml(value)}]",
        # YAML reads `no`, `on` and 1.0 as something else than text.
        "a text": f"put the value of {place} between quotes",
    }
    if wanted:
        return Wording(f"this is not {wanted}", remedy.get(wanted, f"give {place} {wanted}"))
    return Wording(error["msg"])


def _as_yaml(value: object) -> str:
    """A plain value as an item of a list; others by a placeholder."""
    plain = isinstance(value, str | int | float | bool)
    return (value if isinstance(value, str) else json.dumps(value)) if plain else "..."
