"""`decant schema`: the JSON schema of a recipe file, for editors that check YAML."""

import json

from flows.recipe.loading.schema import recipe_schema


def schema() -> None:
    """Print the JSON schema of a recipe file, for editors that check YAML while it is written."""
    print(json.dumps(recipe_schema(), indent=1, ensure_ascii=False))
