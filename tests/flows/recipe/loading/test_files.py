"""Recipe files and overrides: read as they are meant, or refused with the closest known name."""

import json
import re

import pytest
import yaml

from data_contracts.errors import RecipeError
from flows.pipeline import step_names
from flows.recipe.loading.files import check_recipe, read_recipe, recipe_name
from flows.recipe.loading.inheritance import SHIPPED, find_recipe, recipe_values, shipped_recipes
from tests.flows.recipe_probes import refusal


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_survives_yaml_and_json(name):
    """A deployment would run another recipe than the file it was made from."""
    recipe = read_recipe(name)
    text = yaml.safe_dump(recipe.model_dump(mode="json"), allow_unicode=True)
    assert check_recipe(yaml.safe_load(text), name=name) == recipe
    assert type(recipe).model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.name == name


def test_an_unknown_field_is_refused_with_the_closest_name():
    """`lerning_rate: 0.1` would be silently ignored."""
    error = refusal("student.training.lerning_rate=0.1")
    assert "student.training.lerning_rate is not a field" in error.fact
    assert "did you mean student.training.learning_rate?" in error.remedy
    error = refusal("data.sources.2.langage=zh")
    assert "data.sources.2.langage is not a field" in error.fact
    assert "did you mean data.sources.2.language?" in error.remedy


def test_a_wrong_value_is_told_with_its_path_value_and_meaning():
    """A person would search a file of a hundred lines for the wrong one."""
    error = refusal("distillation.alpha=2")
    assert "distillation.alpha = 2" in error.fact
    assert "weight of the soft targets" in error.rule


@pytest.mark.parametrize(
    ("override", "place", "given", "meant", "another"),
    [
        ("distillation={terms: [{kind: kll}]}", "distillation.terms.0.kind", "kll", "kl", "jsd"),
        ("student.tokenizer={kind: trimed}", "student.tokenizer.kind", "trimed", "trimmed", "bpe"),
        ("data.sources.0.format=cvs", "data.sources.0.format", "cvs", "csv", "conll"),
        ("tuning.parameters.0.kind=flot", "tuning.parameters.0.kind", "flot", "float", "int"),
        (
            "student.architecture={init: pretraind}",
            "student.architecture.init",
            "pretraind",
            "pretrained",
            "static",
        ),
        ("student.pairs=apar", "student.pairs", "apar", "apart", "together"),
        ("distillation.train_on=[transfr]", "train_on.0", "transfr", "transfer", "train"),
        ("problem=translaton", "problem", "translaton", "translation", "matching"),
    ],
)
def test_an_unknown_kind_is_refused_with_all_that_there_are_and_the_closest(
    override, place, given, meant, another
):
    """A paragraph about tags and discriminators, for a letter too many."""
    error = refusal(override)
    assert f'{place} = "{given}"' in error.fact
    known = f"{error.fact} {error.rule}".replace(",", " ").split()
    assert {meant, another} <= set(known)
    assert f"did you mean {meant}?" in error.remedy
    assert "tag" not in f"{error.fact} {error.rule} {error.remedy}"


def test_a_section_that_does_not_say_its_kind_is_told_which_there_are():
    """`Unable to extract tag using discriminator`."""
    error = refusal("distillation={terms: [{knd: kl}]}")
    assert error.fact.endswith("distillation.terms.0.kind is missing")
    assert "reverse_kl" in error.rule
    assert error.remedy == "did you mean kind, not knd?"
    assert "distillation.terms.0.kind" in refusal("distillation={terms: [{weight: 2}]}").remedy


def test_a_field_of_several_shapes_is_told_of_once():
    """`layers` misspelt once, and three fields said to be wrong that nobody wrote."""
    error = refusal("student.matching=[{kind: cka, layers: unifrm}]")
    assert "quickstart, 1 field:" in error.fact
    assert "literal[" not in error.fact
    assert "tuple[" not in error.fact
    assert "did you mean uniform?" in error.remedy


def test_overrides_are_typed_like_yaml_and_reach_into_lists():
    """`--set num_seeds=2` would put the text "2" where a number belongs."""
    recipe = read_recipe(
        "quickstart",
        [
            "num_seeds=2",
            "student.training.learning_rate=3e-4",
            "baselines={pseudo_labels: false, supervised: false}",
            "data.sources.0.seed=5",
        ],
    )
    assert recipe.num_seeds == 2
    assert recipe.student_config(0).training.learning_rate == 0.0003
    assert recipe.corpus_config().sources[0].seed == 5
    assert [name for name in step_names(recipe) if "seed" in name] == [
        "student-seed-0",
        "student-seed-1",
    ]


def test_null_in_a_list_takes_what_the_recipe_says_back():
    """Contexts that somebody has cut already were cut again, or no answers could be given."""
    named = "data.sources.3.columns.answers=answers"
    with pytest.raises(RecipeError, match=r"focus_characters and columns\.answers"):
        read_recipe("question_answering", [named])
    recipe = read_recipe("question_answering", [named, "data.sources.3.focus_characters=null"])
    assert "focus_characters" not in recipe.corpus_config().model_dump_json()


@pytest.mark.parametrize(
    ("override", "fact"),
    [
        ("num_seeds", "has no field or no value"),
        ("a..b=1", "has no field or no value"),
        ("data.sources.99.role=test", "has no item '99'"),
        ("name.x=1", "which has no fields"),
        ("data.sources=&a [*a]", "cannot be read"),
    ],
)
def test_a_malformed_override_is_refused(override, fact):
    """It would change nothing, and the run would look as asked."""
    assert fact in refusal(override).fact


def test_a_wrong_field_of_a_pretrained_student_is_told_with_its_own_fields(tiny):
    """The fields of a shape, for somebody who copies layers."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["student"]["architecture"] = {"init": "pretrained", "num_layers": 2, "layer": "last"}
    with pytest.raises(RecipeError, match=r"did you mean student\.architecture\.layers") as caught:
        check_recipe(values, name="tiny")
    assert "embedding_size" not in caught.value.rule


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("evaluation.speed.latency_seconds=inf", "evaluation.speed.latency_seconds"),
        (
            "tuning={parameters: [{path: distillation.alpha, kind: float, low: 0, high: .inf}]}",
            "tuning.parameters.0.high",
        ),
        (
            "tuning={parameters: [{path: student.a, kind: categorical, choices: [1, {b: .nan}]}]}",
            "tuning.parameters.0.choices.1.b",
        ),
    ],
)
def test_a_number_that_no_key_can_hold_is_refused_where_it_was_written(override, place):
    """`inf has no stable form`, under a traceback, when the first step is looked up."""
    error = refusal(override)
    assert error.fact.startswith(f"recipe quickstart: {place} = ")
    assert error.fact.endswith("this is not a finite number")


@pytest.mark.parametrize("name", ["mine.yaml", "mine.recipe", "mine"])
def test_a_recipe_s_file_has_its_name_whatever_the_file_is_called(tmp_path, monkeypatch, name):
    """`decant report mine` finds nothing of what `decant run mine` has made."""
    (tmp_path / name).write_text("extends: quickstart\nname: another\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert recipe_name(name) == read_recipe(name).name == "another"
    assert recipe_name(str(tmp_path / name)) == "another"
    (tmp_path / name).unlink()
    assert recipe_name("mine") == "mine"


def test_files_that_are_no_recipes_are_refused(tmp_path):
    """A wrong path would end in a traceback."""
    for name, text in {
        "list.yaml": "[1, 2]",
        "twice.yaml": "name: a\nname: b\n",
        "object.yaml": "!!python/object/apply:os.getcwd []",
        "tabs.yaml": "\tname: a",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(RecipeError):
            read_recipe(str(tmp_path / name))
    with pytest.raises(RecipeError, match="did you mean quickstart"):
        read_recipe("quikstart")
    assert (SHIPPED / "quickstart.yaml").is_file()


def test_truth_is_no_number_and_numbers_may_be_truths():
    """`patience: yes` is taken for 1: training stops at the first validation that is no better."""
    shown = "distillation.terms.0.weight = true: this is not a number"
    terms = "distillation={terms: [{kind: kl, weight: on}]}"
    assert shown in refusal(terms).fact
    assert refusal("seed=true", "num_seeds=on").fact.count("this is not a whole number") == 2
    assert read_recipe("quickstart", ["baselines.linear=0"]).baselines.linear is False


def test_half_a_character_is_told():
    """A traceback of pydantic's, whose own message cannot be written."""
    assert "holds half a character: '\\ud800'" in refusal(r'teacher.languages=["\ud800"]').fact


# A problem whose recipe names public files itself; others derive theirs, and say how.
PROBLEMS = [
    "sib200",
    "sib200_languages",
    "sentiment",
    "multilabel",
    "ner",
    "question_answering",
    "matching",
    "answer_selection",
    "sentence_embedding",
    "translation",
    "summarization",
]


def _texts(value):
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [text for one in inner for text in _texts(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("name", shipped_recipes())
def test_what_a_recipe_reads_from_the_hub_is_one_revision_of_it(name):
    """A data set was replaced at the hub, and the recipe's figures were those of another one."""
    for text in _texts(recipe_values(name)):
        if text.startswith("hf://"):
            assert re.search(r"^hf://(datasets/)?[\w.-]+/[\w.-]+@[0-9a-f]{40}(/|$)", text), text


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_recipe_of_a_problem_runs_without_files_of_ones_own(name):
    """The first thing a new user met was a script to be copied out of a comment."""
    uris = [source["uri"] for source in recipe_values(name)["data"]["sources"]]
    assert all(uri.startswith(("hf://datasets/", "pkg://")) for uri in uris), uris


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_says_how_its_own_files_are_made(name):
    """A recipe that reads data/x, and nobody could say where x is from."""
    uris = [source.get("uri", "") for source in recipe_values(name)["data"]["sources"]]
    text = find_recipe(name).read_text(encoding="utf-8")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    for folder in {uri.rpartition("/")[0] for uri in uris if uri.startswith("data/")}:
        assert any(folder in line for line in comments), folder
