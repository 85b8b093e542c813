"""What the command line says of the shipped recipes and of what a recipe may hold."""

import json

from flows.commands.recipes import recipes
from flows.commands.schema import schema
from flows.recipe.loading.inheritance import shipped_recipes


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
