"""Every shipped recipe is one that `decant validate` accepts."""

import pytest

from data_contracts.errors import RecipeError
from flows.commands.validate import validate
from flows.recipe.loading.inheritance import shipped_recipes

MADE_FIRST = {"package_synopses"}
"""Recipes whose data a person makes first: they are missed after the recipe itself is checked."""


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_is_valid(name, capsys, monkeypatch, tmp_path):
    """A recipe that Decant comes with would be refused at its first run."""
    monkeypatch.chdir(tmp_path)
    if name in MADE_FIRST:
        with pytest.raises(RecipeError, match="files missing in"):
            validate(name)
        return
    validate(name)
    assert "is valid" in capsys.readouterr().out
