"""Which weights are trained: those of layers that a network has."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import check_recipe

STATIC = {"init": "static"}
CUT = {"init": "pretrained", "layers": [0, 0]}
LAST = {"trainable": "last_layers", "num_trainable_layers": 3}
READING = {"models": ["student"], "roles": ["transfer"]}


def values_of(tiny, architecture, training):
    """A student with the teacher's own tokenizer, trained as `training` says."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    student = values["student"]
    student["tokenizer"] = {"kind": "trimmed", "uri": values["teacher"]["model"]}
    student["architecture"] = architecture or student["architecture"]
    student["training"] = {**student["training"], **training}
    values["teacher"]["languages"] = ["zh", "en"]
    return values


@pytest.mark.parametrize(
    ("architecture", "training", "said"),
    [
        (STATIC, {"trainable": "lora"}, r"trainable is lora, .* static and has layer 0 alone"),
        (STATIC, LAST, r"trainable is last_layers, .* static and has layer 0 alone"),
        (CUT, LAST, "num_trainable_layers is 3, but the student has 2 layers"),
        (None, LAST, "num_trainable_layers is 3, but the student has 2 layers"),
    ],
)
def test_layers_that_there_are_not_cannot_be_trained(tiny, architecture, training, said):
    """Told in the student's step, hours after its teacher's began, in the words of a library."""
    with pytest.raises(RecipeError, match=rf"student\.training\.{said}"):
        check_recipe(values_of(tiny, architecture, training), name="tiny")
    # The encoder that reads on is the student's.
    values = values_of(tiny, architecture, {})
    rate = {"num_epochs": 1, "learning_rate": 0.001}
    values["adaptation"] = {**READING, "training": {**rate, **training}}
    with pytest.raises(RecipeError, match=rf"adaptation\.training\.{said}"):
        check_recipe(values, name="tiny")
    values["adaptation"]["models"] = ["teacher"]
    check_recipe(values, name="tiny")


def test_peers_are_trained_as_the_student_is(tiny):
    """A peer without the layers that the student trains, found when its teacher has been asked."""
    values = values_of(tiny, None, {"trainable": "lora"})
    peer = {key: values["student"][key] for key in ("tokenizer", "max_length_tokens")}
    values["mutual"] = {"peers": [{**peer, "architecture": STATIC}]}
    with pytest.raises(RecipeError, match=r"lora, .* but mutual\.peers\.0 is static"):
        check_recipe(values, name="tiny")
    values["mutual"]["peers"][0]["architecture"] = CUT
    check_recipe(values, name="tiny")


@pytest.mark.parametrize(
    ("architecture", "training"),
    [
        (STATIC, {"trainable": "bias"}),
        (STATIC, {"trainable": "head"}),
        (CUT, {**LAST, "num_trainable_layers": 2}),
        (CUT, {"trainable": "lora"}),
    ],
)
def test_layers_that_there_are_may_be_trained(tiny, architecture, training):
    """A check that refuses what always ran."""
    check_recipe(values_of(tiny, architecture, training), name="tiny")
