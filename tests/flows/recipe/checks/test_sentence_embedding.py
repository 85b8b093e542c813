"""Recipes of sentence embeddings: what has no meaning without labels is refused."""

import pytest

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import check_recipe, read_recipe

STS = {
    "format": "csv",
    "uri": "sts.csv",
    "role": "test",
    "columns": {"text": "a", "text_b": "b", "score": "s"},
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"distillation": {"alpha": 1.0}}, r"distillation\.terms is missing"),
        ({"baselines": {"supervised": False}}, r"baselines\.pseudo_labels is on"),
        ({"student": {"ema": {"decay": 0.9}}}, r"student\.ema is given"),
        (
            {"teacher": {"training": {"num_epochs": 1, "batch_size": 8, "learning_rate": 0.1}}},
            r"teacher\.training is given",
        ),
        ({"data": {"sources": [{"name": "sts", "language": "zh", **STS}]}}, "none of which the t"),
    ],
)
def test_sentence_embedding_refuses_what_needs_labels(changes, said):
    """A night of training, and then a gate that no student without labels can pass."""
    values = read_recipe("sentence_embedding").model_dump(mode="json", exclude_defaults=True)
    for section, fields in changes.items():
        if section == "data":
            values["data"]["sources"] += fields["sources"]
        elif section in ("distillation", "baselines"):
            values[section] = fields
        else:
            values[section].update(fields)
    with pytest.raises(RecipeError, match=said):
        check_recipe(values, name="sentence_embedding")
