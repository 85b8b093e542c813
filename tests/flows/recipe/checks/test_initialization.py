"""What models start from: tokens, layers or lengths that they do not have are told at once."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.preflight.refusals import check_before_run, check_before_training
from flows.recipe.loading.files import check_recipe


def values_of(tiny):
    """A student of the teacher's layers: one, of width 32, with 64 positions."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["student"]["architecture"] = {"init": "pretrained", "num_layers": 1}
    values["student"]["tokenizer"] = {"kind": "trimmed", "uri": str(tiny / "teacher")}
    return values


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
@pytest.mark.parametrize("model", ["teacher", "a/folder", None])
@pytest.mark.parametrize("init", ["pretrained", "static"])
def test_weights_are_not_given_new_tokens(tiny, kind, model, init):
    """`96 of the student's 120 tokens are no tokens of the model`, after its teacher's training."""
    values = values_of(tiny)
    start = {"init": init, **({"model": model} if model else {})}
    start |= {"num_layers": 1} if init == "pretrained" else {"hidden_size": 16}
    values["student"] |= {"architecture": start, "tokenizer": {"kind": kind}}
    named = "a/folder" if model == "a/folder" else str(tiny / "teacher")
    if (init, model) == ("static", None):  # drawn at random
        assert check_recipe(values, name="tiny")
        return
    with pytest.raises(RecipeError, match=f"student.tokenizer is {kind}, but") as told:
        check_recipe(values, name="tiny")
    assert f"{{kind: trimmed, uri: {named}}}" in told.value.fact
    values["student"]["tokenizer"] = {"kind": "trimmed", "uri": named}
    assert check_recipe(values, name="tiny")
    reader = {"architecture": start, "tokenizer": {"kind": kind}}
    values["mutual"] = {"weight": 0.5, "peers": [reader]}
    with pytest.raises(RecipeError, match=rf"mutual\.peers\.0\.tokenizer is {kind}, but"):
        check_recipe(values, name="tiny")


@pytest.mark.parametrize(
    ("section", "change", "fact"),
    [
        ("student", {"architecture": {"num_layers": 5}}, "num_layers is 5, but .* has 1 layers"),
        (
            "student",
            {"architecture": {"layers": [0, 3]}},
            r"layers is \[0, 3\], but .* has 1 layers",
        ),
        ("student", {"architecture": {"hidden_size": 48}}, "hidden_size is 48, but .* are 32 wide"),
        ("student", {"max_length_tokens": 65}, "student.max_length_tokens is 65, but .* reads 64"),
        ("teacher", {"max_length_tokens": 65}, "teacher.max_length_tokens is 65, but .* reads 64"),
        (
            "teacher",
            {"training": {"trainable": "last_layers", "num_trainable_layers": 2}},
            r"teacher\.training\.num_trainable_layers is 2, but .* has 1 layers",
        ),
    ],
)
def test_what_a_model_on_this_machine_does_not_have_is_refused(tiny, section, change, fact):
    """An index out of range in the middle of the teacher's training, or a student refused after."""
    values = values_of(tiny)
    for asked in (check_before_run, check_before_training):
        asked(check_recipe(values, name="tiny"))
    for field, value in change.items():
        if isinstance(value, dict):
            values[section][field] |= value
        else:
            values[section][field] = value
    if "layers" in values["student"]["architecture"]:
        del values["student"]["architecture"]["num_layers"]
    recipe = check_recipe(values, name="tiny")
    for asked in (check_before_run, check_before_training):
        with pytest.raises(RecipeError, match=fact):
            asked(recipe)
    # Elsewhere the folder may hold another model.
    values["teacher"]["model"] = "s3://bucket/model"
    check_before_run(check_recipe(values, name="tiny"))


def test_all_that_start_from_a_model_are_looked_at(tiny):
    """The first student fits, and a peer, a further teacher or an adapted one does not."""
    values = values_of(tiny)
    values["teacher"]["languages"] = ["en", "zh"]
    long = {"max_length_tokens": 100}
    values["co_teachers"] = {"other": {**values["teacher"], **long}}
    with pytest.raises(RecipeError, match=r"^co_teachers\.other\.max_length_tokens is 100"):
        check_before_run(check_recipe(values, name="tiny"))
    del values["co_teachers"]
    peer = {key: values["student"][key] for key in ("architecture", "tokenizer")}
    values["mutual"] = {"weight": 0.5, "peers": [{**peer, **long}]}
    with pytest.raises(RecipeError, match=r"^mutual\.peers\.0\.max_length_tokens is 100"):
        check_before_run(check_recipe(values, name="tiny"))
    del values["mutual"]
    training = {"num_epochs": 1, "learning_rate": 0.1, "trainable": "last_layers"}
    training |= {"num_trainable_layers": 2}
    values["adaptation"] = {"models": ["teacher"], "roles": ["transfer"], "training": training}
    with pytest.raises(RecipeError, match=r"^adaptation\.training\.num_trainable_layers is 2"):
        check_before_run(check_recipe(values, name="tiny"))
