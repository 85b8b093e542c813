"""What a run would come to, told by the commands that come before it."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.preflight.refusals import check_before_run
from flows.recipe.loading.files import check_recipe, read_recipe
from flows.recipe.loading.inheritance import shipped_recipes
from flows.studies.study import check_study


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_may_run(name):
    """A check that refuses what always ran."""
    check_before_run(read_recipe(name))


def test_a_language_without_rows_to_evaluate_on_is_told_before_a_row_is_read(tiny):
    """Said to be valid, and refused by the first step, when millions of rows have been read."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    sources = values["data"]["sources"]
    values["baselines"] = {"supervised": False}
    values["data"]["sources"] = [one for one in sources if one["name"] != "zh-test"]
    # Labelled pairs: test rows are cut from them.
    check_before_run(check_recipe(values, name="tiny"))
    for one in sources:
        if one["name"] == "zh-pairs":
            one["columns"] = {"text": "zh", "parallel_text": "en"}
    recipe = check_recipe(values, name="tiny")
    with pytest.raises(
        RecipeError, match="of 5 sources none has zh rows for the role test"
    ) as told:
        check_before_run(recipe)
    assert "zh-validation (validation), zh-pairs (transfer)" in told.value.fact
    assert "role: test, language: zh" in told.value.remedy
    values["tuning"] = {
        "parameters": [{"path": "distillation.alpha", "kind": "float", "low": 0, "high": 1}]
    }
    with pytest.raises(RecipeError, match="none has zh rows"):
        check_study(check_recipe(values, name="tiny"))
