"""How tests look into recipes: all their sections, and the error that overrides lead to."""

import pytest

from data_contracts.errors import RecipeError
from flows.recipe.loading.fields import models_in
from flows.recipe.loading.files import read_recipe


def all_models(model, seen):
    """`model` and the sections in it, at any depth; `seen` gets them."""
    if model not in seen:
        seen.add(model)
        for field in model.model_fields.values():
            for inner in models_in(field.annotation):
                all_models(inner, seen)
    return seen


def refusal(*overrides):
    """The error of the quickstart with `overrides`."""
    with pytest.raises(RecipeError) as caught:
        read_recipe("quickstart", overrides)
    return caught.value
