"""Sources that hold nothing for a teacher, a student or a baseline: told before anything runs."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import check_recipe, read_recipe
from tests.flows.recipe_probes import refusal


@pytest.mark.parametrize(
    ("overrides", "fact"),
    [
        (["source_language=de"], "the teacher would have nothing to learn from"),
        (["target_language=de"], "the student would have nothing to learn from"),
        (["student.languages=[en]"], "student.languages are en, without the target language zh"),
        (["baselines.zero_shot=true"], "set student.languages to [zh, en]"),
        (["distillation.hard_labels=source"], "the student reads no labelled row in en"),
    ],
)
def test_models_and_sources_without_a_row_in_common_are_refused(overrides, fact):
    """The contradiction would show up an hour later, in a stage that cannot explain it."""
    assert fact in refusal(*overrides).fact


def test_a_student_without_parallel_text_needs_a_teacher_that_reads_its_language(tiny):
    """Every transfer row would be dropped as unreadable, and the student trained on nothing."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    pairs = values["data"]["sources"][-1]
    assert pairs["role"] == "transfer"
    del pairs["parallel_language"], pairs["columns"]["parallel_text"]
    with pytest.raises(RecipeError, match="parallel text"):
        check_recipe(values, name="tiny")
    values["teacher"]["languages"] = ["en", "zh"]
    assert check_recipe(values, name="tiny").teacher_languages == ("en", "zh")


def test_pairs_the_wrong_way_round_are_told_so(tiny):
    """`no source has the language zh; there are en (transfer) and zh (transfer)`."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    pairs = values["data"]["sources"][-1]
    assert (pairs["language"], pairs["parallel_language"]) == ("zh", "en")
    pairs["language"], pairs["parallel_language"] = "en", "zh"
    with pytest.raises(RecipeError, match="in zh-pairs that is the language of parallel_text"):
        check_recipe(values, name="tiny")


def test_one_readable_source_does_not_excuse_an_unreadable_one(tiny):
    """Half of the transfer rows would be dropped as unreadable, and nobody told."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    pairs = values["data"]["sources"][-1]
    alone = json.loads(json.dumps(pairs))
    alone["name"] = "zh-alone"
    del alone["parallel_language"], alone["columns"]["parallel_text"]
    values["data"]["sources"].append(alone)
    with pytest.raises(RecipeError, match="are wanted of zh-alone, in another language") as refused:
        check_recipe(values, name="tiny")
    assert "zh-pairs" not in str(refused.value)
    values["data"]["sources"][-1]["language"] = "fr"  # read by neither teacher nor student
    with pytest.raises(RecipeError, match="zh-alone"):
        check_recipe(values, name="tiny")
    values["data"]["sources"][-1]["language"] = "en"
    check_recipe(values, name="tiny")


def test_the_supervised_bound_needs_labels(tiny):
    """It would be trained on no row at all."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    del values["data"]["sources"][-1]["columns"]["label"]
    with pytest.raises(RecipeError, match=r"baselines\.supervised needs gold labels"):
        check_recipe(values, name="tiny")


def test_the_supervised_bound_is_not_made_of_source_labels():
    """English labels called the bound of a Chinese student: it was the zero-shot student again."""
    bound = "baselines.supervised=true"
    with pytest.raises(RecipeError, match="needs gold labels in zh, but zh-text has none"):
        read_recipe("ner", [bound])
    tags = "data.sources.3.columns={words: tokens, tags: ner_tags}"
    names = "data.sources.3.label_names=[O, B-PER, I-PER, B-ORG, I-ORG, B-LOC, I-LOC]"
    assert read_recipe("ner", [bound, tags, names]).baselines.supervised
