"""Names of loss terms beside what the student is trained with: each figure tells of one thing."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import check_recipe, read_recipe

BESIDE = {
    "ema": {"ema": {"decay": 0.9}},
    "adversary": {"adversary": {"groups": "role"}, "languages": ["zh", "en"]},
    "hidden_mse": {"matching": [{"kind": "cka"}, {"kind": "hidden_mse", "layers": "last"}]},
}


def values_of(tiny, student, *terms):
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["student"] |= student
    values["distillation"] = {"terms": list(terms), "train_on": ["transfer", "train"]}
    return values


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("ema", "student.ema"),
        ("adversary", "student.adversary"),
        ("hidden_mse", "student.matching.1"),
    ],
)
def test_a_term_cannot_be_called_what_a_companion_is_reported_as(tiny, name, section):
    """Two losses added up as one figure, and the weight of the one told as that of the other."""
    terms = {"kind": "kl"}, {"kind": "hard", "name": name}
    with pytest.raises(RecipeError) as told:
        check_recipe(values_of(tiny, BESIDE[name], *terms), name="tiny")
    said = str(told.value)
    assert f"distillation.terms.1 is reported as {name}, and so is {section}" in said
    assert f"loss_{name}, weight_{name} and share_{name} tell of one term each" in said
    assert "give the term another name" in said
    # Without the companion, or beside another one, the name is free.
    check_recipe(values_of(tiny, {}, *terms), name="tiny")
    others = [section for one, section in BESIDE.items() if one != name]
    for other in others:
        check_recipe(values_of(tiny, other, *terms), name="tiny")


def test_a_term_cannot_be_called_what_peers_are_reported_as():
    """The student's own loss, gone from the history behind what it learned from its peers."""
    values = read_recipe("mutual_quickstart").model_dump(mode="json", exclude_unset=True)
    values["distillation"] = {"terms": [{"kind": "kl", "name": "mutual"}]}
    with pytest.raises(RecipeError, match=r"terms\.0 is reported as mutual, and so is mutual"):
        check_recipe(values, name="mutual_quickstart")
    del values["mutual"]
    check_recipe(values, name="mutual_quickstart")


@pytest.mark.parametrize(
    ("matching", "beside", "said"),
    [
        (
            [{"kind": "hidden_mse"}, {"kind": "hidden_mse", "layers": "last"}],
            {},
            "student.matching.1 is reported as hidden_mse, and so is student.matching.0",
        ),
        (
            [{"kind": "cka", "name": "low"}, {"kind": "hidden_mse", "name": "low"}],
            {},
            "student.matching.1 is reported as low, and so is student.matching.0",
        ),
        (
            [{"kind": "cka", "name": "ema"}],
            {"ema": {"decay": 0.9}},
            "student.matching.0 is reported as ema, and so is student.ema",
        ),
    ],
)
def test_layer_terms_cannot_be_called_alike(tiny, matching, beside, said):
    """Two losses added up as one figure, and the weight of the last told as that of both."""
    terms = {"kind": "kl"}, {"kind": "hard"}
    with pytest.raises(RecipeError) as told:
        check_recipe(values_of(tiny, {"matching": matching, **beside}, *terms), name="tiny")
    assert said in str(told.value)
    named = [{**term, "name": f"of_{number}"} for number, term in enumerate(matching)]
    recipe = check_recipe(values_of(tiny, {"matching": named, **beside}, *terms), name="tiny")
    assert [term.title for term in recipe.student_config(0).matching] == [
        f"of_{number}" for number in range(len(matching))
    ]


def test_a_layer_term_cannot_be_called_what_the_short_form_is_reported_as(tiny):
    """The distillation's own figure with the layers' added to it, where no term is listed."""
    values = values_of(tiny, {"matching": [{"kind": "cka", "name": "kd"}]})
    values["distillation"] = {"alpha": 0.5}
    with pytest.raises(RecipeError, match=r"matching\.0 is reported as kd, and so is distillation"):
        check_recipe(values, name="tiny")
    values["distillation"] = {"alpha": 0.0}  # its soft targets are left out
    check_recipe(values, name="tiny")


def test_other_names_are_free_beside_companions(tiny):
    """A check that refuses what was always right."""
    student = BESIDE["ema"] | BESIDE["adversary"] | BESIDE["hidden_mse"]
    check_recipe(values_of(tiny, student, {"kind": "kl", "name": "soft"}), name="tiny")
    check_recipe(values_of(tiny, student, {"kind": "kl"}, {"kind": "hard"}), name="tiny")
