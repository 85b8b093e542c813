"""Languages that are named and of which there is nothing to read."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import check_recipe, read_recipe
from tests.flows.recipe_probes import refusal

PEER = {
    "tokenizer": {"kind": "bpe", "vocab_size": 300},
    "architecture": {"num_layers": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64},
}


@pytest.mark.parametrize(
    ("section", "values", "field", "wrong", "right"),
    [
        ("student", {"languages": ["zh", "eng"]}, "student.languages", "eng", "en"),
        ("teacher", {"languages": ["en", "zhh"]}, "teacher.languages", "zhh", "zh"),
        (
            "mutual",
            {"peers": [{**PEER, "languages": ["eng"]}]},
            "mutual.peers.0.languages",
            "eng",
            "en",
        ),
    ],
)
def test_a_language_that_no_source_is_in_is_refused(tiny, section, values, field, wrong, right):
    """A misspelt language, of which nothing was read, and a student that was said to know it."""
    recipe = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    recipe[section] = {**recipe.get(section, {}), **values}
    with pytest.raises(RecipeError) as told:
        check_recipe(recipe, name="tiny")
    assert f"{field} has {wrong}, but no source is in that language" in told.value.fact
    assert f"did you mean {right}," in told.value.fact
    # Both languages are in the pairs.
    meant = json.loads(json.dumps(recipe[section]).replace(f'"{wrong}"', f'"{right}"'))
    check_recipe({**recipe, section: meant}, name="tiny")


def test_a_teacher_beside_the_first_is_told_by_its_place_in_the_recipe():
    """`german.languages`, a field that no recipe has."""
    with pytest.raises(
        RecipeError, match=r": co_teachers\.german\.languages has xx, but no source"
    ):
        read_recipe("multi_source", ["co_teachers.german.languages=[de, xx]"])


def test_who_has_nothing_to_read_is_told_what_there_is():
    """`the student would have nothing to learn from`, and the sources to be looked through."""
    there = "there are en (train, validation, test, transfer) and zh (transfer, validation, test)"
    assert there in refusal("target_language=de").fact
    assert there in refusal("source_language=de").fact
