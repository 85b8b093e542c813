"""Text that encoders read on in: neither left lying nor looked for in vain."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import check_recipe

READING = {
    "models": ["teacher", "student"],
    "roles": ["transfer"],
    "training": {"num_epochs": 1, "learning_rate": 0.001},
}


def test_text_that_is_never_read_and_reading_without_text_are_refused(tiny):
    """Ten thousand reviews in the recipe, and a figure that owes nothing to them."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))

    def check(**sections):
        return check_recipe({**values, **sections}, name="tiny")

    [transfer] = [s for s in values["data"]["sources"] if s["role"] == "transfer"]
    columns = {"text": transfer["columns"]["text"]}
    only = {"name", "format", "uri", "language"}
    text = {**{key: transfer[key] for key in only}, "name": "more", "role": "adapt"}
    more = {**text, "columns": columns}
    data = {**values["data"], "sources": [*values["data"]["sources"], more]}
    with pytest.raises(RecipeError, match="more has the role adapt, but no section adaptation"):
        check(data=data)
    check(data=data, adaptation={**READING, "roles": ["adapt"]})
    with pytest.raises(RecipeError, match="adaptation would have nothing to read"):
        check(adaptation={**READING, "roles": ["adapt"]})
    with pytest.raises(RecipeError, match="which the student does not read"):
        check(adaptation={**READING, "roles": ["train"], "languages": ["en"]})
    # Text may also lend its words alone, to a tokenizer that is cut.
    lent = {"kind": "trimmed", "uri": values["teacher"]["model"], "roles": ["transfer", "adapt"]}
    student = {**values["student"], "tokenizer": lent}
    check(data=data, student=student)
    with pytest.raises(RecipeError, match="has adapt, but no source has that role"):
        check(student=student)
