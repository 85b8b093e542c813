"""What is told of a wrong value: no word of Python, and a remedy that names the field."""

import pytest

from flows.recipe.loading.files import read_recipe
from tests.flows.recipe_probes import refusal


@pytest.mark.parametrize(
    ("override", "complaint", "remedy"),
    [
        ("num_seeds=many", "num_seeds = \"many\": this is not a whole number",
         "give num_seeds a whole number"),
        ("num_seeds=2.5", "num_seeds = 2.5: this is not a whole number",
         "give num_seeds a whole number"),
        ("distillation.temperature=warm", "this is not a number",
         "give distillation.temperature a number"),
        ("evaluation.speed.latency_seconds=.inf", "= Infinity: this is not a finite number",
         "give evaluation.speed.latency_seconds a finite number"),
        ("registration.gates.min_gain_over_no_kd=.nan", "= NaN: this is not a finite number",
         "give registration.gates.min_gain_over_no_kd a finite number"),
        ("baselines.linear=maybe", "this is not true or false",
         "give baselines.linear true or false"),
        ("student.training=7", "student.training = 7: this is not a section",
         "write the fields of student.training below it, a line each"),
        ("data.sources.0.name=no", "data.sources.0.name = false: this is not a text",
         "put the value of data.sources.0.name between quotes"),
        ("student.languages=zh", "this is not a list", "write student.languages: [zh]"),
        ("data.sources=a.csv", "this is not a list",
         "write the sections of data.sources below it, each after a dash"),
        ("data.sources=[]", "the list has 0 items", "give data.sources at least 1 item"),
        ("teacher=null", "null is not a section", "give teacher a section"),
        ("export=null", "null is not a section", "give export a section, or leave it out"),
        ("student.architecture=null", "null is not a section",
         "give student.architecture a section"),
        ("student.training.patience=yes", "patience = true: this is not a whole number",
         "give student.training.patience a whole number"),
        ("registration.gates.max_size_mb=on", "max_size_mb = true: this is not a number",
         "give registration.gates.max_size_mb a number"),
        ("distillation.alpha=1.5", "less than or equal to 1",
         "give distillation.alpha a number of at most 1"),
        ("distillation.temperature=-1", "greater than 0",
         "give distillation.temperature a number above 0"),
        ("seed=99999999999", "less than or equal to 2147483647",
         "give seed a number of at most 2147483647"),
        ("name=My Recipe", "should match pattern", "give name a text of that form"),
        ("data.sources.0.format=xlsx", "is not known", "name one of them"),
        ("xyz=1", "xyz is not a field", "take xyz out"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_in_words_of_the_file_with_what_to_write(override, complaint, remedy):
    """`Input should be a valid tuple`, to somebody who never wrote Python."""
    error = refusal(override)
    assert complaint in error.fact
    assert error.remedy == remedy
    for word in ("tuple", "dictionary", "instance of", "object to extract"):
        assert word not in error.fact


def test_a_list_of_wrong_items_is_not_called_empty_besides():
    """`the list has 0 items`, under a list of one."""
    wrong = "[{path: distillation.alpha, kind: float, low: 1, high: 0}]"
    error = refusal(f"tuning.parameters={wrong}")
    assert "low 1.0 is not below high 0.0" in error.fact
    assert "items" not in error.fact
    assert "the list has 0 items" in refusal("tuning.parameters=[]").fact


def test_a_missing_field_is_asked_for_by_its_whole_path():
    """`correct the recipe`, which does not say where."""
    error = refusal("teacher={model: somewhere, max_length_tokens: 8, training: {batch_size: 4}}")
    assert "teacher.training.num_epochs is missing" in error.fact
    assert "add teacher.training.num_epochs" in error.remedy


def test_a_list_that_is_proposed_is_one():
    """Advice that ends at the next error."""
    proposed = refusal("student.languages=zh").remedy.removeprefix("write ")
    recipe = read_recipe("quickstart", [proposed.replace(": ", "=", 1)])
    assert recipe.student_languages == ("zh",)
