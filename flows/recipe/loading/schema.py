"""The JSON schema of a recipe file, for editors: with `extends` and `languages`.

No field is required in it: a recipe that extends another leaves out what it takes from there.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from flows.recipe.loading.files import AnyRecipe


def recipe_schema() -> dict[str, Any]:
    """The schema of what a recipe file may hold, as plain data."""
    schema: dict[str, Any] = _without_required(TypeAdapter(AnyRecipe).json_schema())
    definitions = schema.get("$defs", {})
    top = [one for name, one in definitions.items() if name.endswith("Recipe")]
    for one in top or [schema]:
        one["properties"]["extends"] = {
            "type": "string",
            "description": "a shipped recipe or a YAML file, of which this one says what differs",
        }
    text = {"type": "string"}
    for one in definitions.values():
        if {"uri", "language"} <= one.get("properties", {}).keys():
            one["properties"]["languages"] = {
                "anyOf": [
                    {"type": "array", "items": text},
                    {"type": "object", "additionalProperties": text},
                ],
                "description": "one source for each, with {language} and {spelling} filled in",
            }
    return schema


def _without_required(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_required(one)
            for key, one in value.items()
            if not (key == "required" and isinstance(one, list))
        }
    return [_without_required(one) for one in value] if isinstance(value, list) else value
