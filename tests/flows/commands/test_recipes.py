"""What the command line says of the shipped recipes and of what a recipe may hold."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.commands.recipes import recipes
from flows.commands.schema import schema
from flows.commands.validate import validate
from flows.recipe.loading.inheritance import shipped_recipes

MADE_FIRST = {"package_synopses"}
"""Recipes whose data a person makes first: they are missed after the recipe itself is checked."""


def test_each_shipped_recipe_is_listed_with_a_line(capsys):
    """A recipe without a line is one that nobody finds."""
    recipes()
    lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in lines] == shipped_recipes()


def test_the_schema_is_json_and_knows_what_is_expanded_before_validation(capsys):
    """An editor would mark `extends` and `languages` as mistakes."""
    schema()
    told = json.loads(capsys.readouterr().out)
    assert '"extends"' in json.dumps(told)
    assert "languages" in told["$defs"]["FileSource"]["properties"]


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
