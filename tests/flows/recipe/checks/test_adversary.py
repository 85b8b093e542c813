"""Adversaries that a recipe may have: what they tell apart is there, and can be hidden."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import check_recipe, read_recipe

FROZEN = {"trainable": "head"}
THAWED = {"trainable": "head", "embedding_updates": "dense"}
SECTIONS = ("student", "teacher", "co_teachers.second")


def values_of(tiny, section, adversary=None, **training):
    """Student and teachers read both languages and roles; the one in `section` has an adversary."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["distillation"] = {"train_on": ["transfer", "train"]}
    # No two teachers may be one object: the sections are changed below.
    values["co_teachers"] = {"second": json.loads(json.dumps(values["teacher"]))}
    for name in SECTIONS:
        reader_in(values, name)["languages"] = ["zh", "en"]
    changed = reader_in(values, section)
    changed["adversary"] = adversary or {}
    changed["training"] = {**changed["training"], **training}
    return values


def reader_in(values, section):
    for key in section.split("."):
        values = values[key]
    return values


@pytest.mark.parametrize("section", SECTIONS)
def test_what_is_frozen_hides_nothing(tiny, section):
    """An adversary that is told of in the report, and a student that is as it would be without."""
    with pytest.raises(RecipeError, match=rf"{section}\.adversary is given with .*trainable: head"):
        check_recipe(values_of(tiny, section, **FROZEN), name="tiny")
    check_recipe(values_of(tiny, section, **THAWED), name="tiny")


@pytest.mark.parametrize("name", ["ner", "question_answering"])
@pytest.mark.parametrize("section", ["student", "teacher"])
def test_networks_without_text_vectors_have_no_adversary(name, section):
    """Told when the teacher has been trained and asked."""
    said = rf"{section}\.adversary: .* a network of \w+ does not have; .* one answer a text; leave"
    with pytest.raises(RecipeError, match=said):
        read_recipe(name, [f"{section}.adversary={{}}"])


@pytest.mark.parametrize("section", SECTIONS)
def test_one_language_is_nothing_to_tell_apart(tiny, section):
    """A student of one language, refused when its teacher has been trained and asked."""
    own = {"student": "zh"}.get(section, "en")
    values = values_of(tiny, section)
    reader_in(values, section)["languages"] = [own]
    said = rf"{section}\.adversary: all rows that are trained on have the language {own}; .* two at"
    with pytest.raises(RecipeError, match=said):
        check_recipe(values, name="tiny")
    reader_in(values, section)["adversary"] = {"groups": "role"}
    if section == "student":  # train rows are in the other language
        with pytest.raises(RecipeError, match="have the role transfer"):
            check_recipe(values, name="tiny")
    else:
        check_recipe(values, name="tiny")


def test_rows_of_a_role_that_nobody_trains_on_are_not_told_apart(tiny):
    """Train rows in the recipe that the student never sees."""
    values = values_of(tiny, "student", {"groups": "role"})
    check_recipe(values, name="tiny")
    values["distillation"] = {"train_on": ["transfer"]}
    with pytest.raises(RecipeError, match="all rows that are trained on have the role transfer"):
        check_recipe(values, name="tiny")


def test_parallel_text_that_may_be_missing_is_left_to_the_rows(tiny):
    """Pairs of which some lack their English: read in Chinese, which the recipe cannot know."""
    values = values_of(tiny, "student")
    values["distillation"] = {"train_on": ["transfer"]}
    values["student"]["languages"] = ["en", "zh"]
    check_recipe(values, name="tiny")
    values["student"]["languages"] = ["zh", "en"]  # every row has its own text
    with pytest.raises(RecipeError, match="have the language zh"):
        check_recipe(values, name="tiny")


def test_variants_of_a_language_can_be_told_apart(tiny):
    """Taiwan's texts beside the mainland's, refused because one reader takes both."""
    values = values_of(tiny, "student")
    values["student"]["languages"] = ["zh"]
    (pairs,) = [one for one in values["data"]["sources"] if one["role"] == "transfer"]
    values["data"]["sources"].append({**pairs, "name": "taiwan", "language": "zh-TW"})
    check_recipe(values, name="tiny")


@pytest.mark.parametrize("section", SECTIONS)
def test_roles_and_languages_are_not_both_noted(tiny, section):
    """Told when the teacher has been trained and asked."""
    values = values_of(tiny, section, {"groups": "role"}, language_temperature=2.0)
    said = rf"{section}\.adversary: an adversary of roles and training\.language_temperature are"
    with pytest.raises(RecipeError, match=said):
        check_recipe(values, name="tiny")
    reader_in(values, section)["adversary"] = {"groups": "language"}
    check_recipe(values, name="tiny")
