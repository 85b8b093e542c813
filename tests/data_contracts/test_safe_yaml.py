"""YAML files cannot run code, fill the memory or say two things at once."""

import pytest

from data_contracts.errors import RecipeError
from data_contracts.safe_yaml import MAX_CHARS, load_yaml

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def load(text):
    return load_yaml(text, name="recipe.yaml", error=RecipeError)


def test_plain_values_are_read():
    """A loader so strict that recipes cannot be read."""
    text = "name: 快速\nsizes: [1, 2.5, null, true]\nnested: {a: {b: c}}\n"
    assert load(text) == {
        "name": "快速",
        "sizes": [1, 2.5, None, True],
        "nested": {"a": {"b": "c"}},
    }
    assert load("") is None


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("a: !!python/object/apply:os.system [echo]", "python/object"),
        (LAUGHS, "anchors and aliases"),
        ("a: 1\nb: 2\na: 3", "'a' is given twice"),
        ("x: {k: 1, k: 2}", "'k' is given twice"),
        ("a: [1, 2", "line 1"),
        ("- " * 20_000 + "x", "recipe.yaml"),
        ("on: 2026-13-01", "month"),
        ("on: !!bool maybe", "maybe"),
        ("a" * (MAX_CHARS + 1), "1,000,001 characters"),
    ],
    ids=["code", "laughs", "twice", "twice-inside", "syntax", "depth", "date", "bool", "size"],
)
def test_what_could_hurt_is_refused_as_the_users_error(text, fact):
    """Code run by a recipe, a filled memory, or the first of two values silently lost."""
    with pytest.raises(RecipeError, match=r"recipe\.yaml") as error:
        load(text)
    assert fact in error.value.fact
