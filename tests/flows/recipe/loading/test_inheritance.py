"""A recipe that extends another is the recipe written out, and mistakes are told."""

import json

import pytest
import yaml

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import check_recipe, read_recipe, recipe_name
from flows.recipe.loading.inheritance import SHIPPED, find_recipe, recipe_values


def written(folder, name, text):
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_an_extending_recipe_is_the_same_as_the_one_written_out(tmp_path):
    """Another key for the same teacher: hours of training, for a name."""
    path = written(
        tmp_path,
        "mine",
        "extends: quickstart\nname: mine\ndistillation: {alpha: 0.5}\n"
        "student: {training: {num_epochs: 7}}\nregistration: {gates: {max_size_mb: 3}}\n",
    )
    by_hand = yaml.safe_load((SHIPPED / "quickstart.yaml").read_text(encoding="utf-8"))
    by_hand["name"] = "mine"
    by_hand["distillation"]["alpha"] = 0.5
    by_hand["student"]["training"]["num_epochs"] = 7
    by_hand["registration"]["gates"]["max_size_mb"] = 3
    assert recipe_values(path) == by_hand
    recipe = read_recipe(path)
    assert recipe == check_recipe(by_hand, name="mine")
    # What was said, and what is a default, are told apart as before: studies write out the former.
    assert recipe.model_dump_json(exclude_unset=True) == check_recipe(
        by_hand, name="mine"
    ).model_dump_json(exclude_unset=True)
    base = read_recipe("quickstart")
    assert recipe.teacher_config() == base.teacher_config()
    assert recipe.student_tokens_config() == base.student_tokens_config()
    assert recipe.student_config(0) != base.student_config(0)


def test_lists_replace_lists(tmp_path):
    """Sources of two recipes in one corpus, and nobody would see it in the file."""
    base = json.loads(json.dumps(recipe_values("quickstart")["data"]["sources"][:1]))
    text = yaml.safe_dump({"extends": "quickstart", "name": "a", "data": {"sources": base}})
    assert recipe_values(written(tmp_path, "a", text))["data"]["sources"] == base


def test_null_is_null_where_a_field_has_it_and_else_takes_the_value_away(tmp_path):
    """`alpha: null` beside terms would be refused as no number, and alpha could not be left out."""
    text = (
        "extends: quickstart\nname: a\ntuning: null\n"
        "distillation: {alpha: null, temperature: null, hard_labels: null, terms: [{kind: jsd}]}\n"
        "registration: {gates: {min_gain_over_no_kd: null}}\n"
        "student: {training: {warmup_share: null}, ema: {decay: null},"
        " architecture: {init: static, hidden_size: 64, dropout: null}}\n"
    )
    values = recipe_values(written(tmp_path, "a", text))
    assert values["distillation"] == {"terms": [{"kind": "jsd"}]}
    recipe = read_recipe(str(tmp_path / "a.yaml"))
    assert recipe.tuning is None
    assert dict(recipe.registration)["gates"].min_gain_over_no_kd is None
    # A name that the other recipe never said is not taken away in silence: it may be misspelt.
    wrong = written(tmp_path, "b", "extends: quickstart\nname: b\ndistillation: {alpa: null}\n")
    with pytest.raises(RecipeError, match=r"distillation\.alpa is not a field"):
        read_recipe(wrong)


def test_null_takes_one_of_several_teachers_away(tmp_path):
    """Nobody could leave out one source language of three."""
    path = written(tmp_path, "a", "extends: multi_source\nname: a\nco_teachers: {german: null}\n")
    assert list(read_recipe(path).co_teachers) == ["japanese"]


def test_a_section_of_another_kind_replaces_the_whole_section(tmp_path):
    """num_layers of a shape would be refused in a static student that never said it."""
    path = written(
        tmp_path,
        "a",
        "extends: quickstart\nname: a\nstudent: {architecture: {init: static, hidden_size: 64}}\n",
    )
    student = recipe_values(path)["student"]
    assert student["architecture"] == {"init": "static", "hidden_size": 64}
    assert student["max_length_tokens"] == 48
    same = written(
        tmp_path,
        "b",
        "extends: quickstart\nname: b\nstudent: {tokenizer: {kind: bpe, vocab_size: 500}}\n",
    )
    assert recipe_values(same)["student"]["tokenizer"] == {
        "kind": "bpe", "vocab_size": 500, "max_token_characters": 4, "min_frequency": 40,
    }  # fmt: skip


@pytest.mark.parametrize("base", ["quickstart", "translation"])
def test_a_section_that_names_the_default_s_kind_is_of_the_same_kind(tmp_path, base):
    """`init: random` written out, and width and dropout fall back to defaults nobody asked for."""
    layers = "num_layers" if base == "quickstart" else "decoder_layers"
    told = f"extends: {base}\nname: a\nstudent: {{architecture: {{init: random, {layers}: 3}}}}\n"
    shape = read_recipe(written(tmp_path, "a", told)).student.architecture
    theirs = read_recipe(base).student.architecture
    assert shape == theirs.model_copy(update={layers: 3})
    # What has no tag is a shape: another `init` replaces it, and null leads back to it.
    told = "extends: static_student\nname: b\nstudent: {architecture: {init: null}}\n"
    assert recipe_values(written(tmp_path, "b", told))["student"]["architecture"] == {}


@pytest.mark.parametrize(
    ("base", "section", "field", "default"),
    [
        ("quickstart", "architecture", "hidden_size", 192),
        ("quickstart", "tokenizer", "vocab_size", 8000),
        ("static_student", "architecture", "hidden_size", 256),
        ("translation", "architecture", "encoder_layers", 4),
    ],
)
def test_null_is_read_by_the_kind_that_a_section_is_of(tmp_path, base, section, field, default):
    """Null of a width that must be a number, as students of another kind may leave it open."""
    told = f"extends: {base}\nname: a\nstudent: {{{section}: {{{field}: null}}}}\n"
    path = written(tmp_path, "a", told)
    assert field not in recipe_values(path)["student"][section]
    assert dict(dict(read_recipe(path).student)[section])[field] == default
    kept = "extends: multilabel\nname: b\nstudent: {architecture: {hidden_size: null}}\n"
    assert recipe_values(written(tmp_path, "b", kept))["student"]["architecture"] == {
        **recipe_values("multilabel")["student"]["architecture"], "hidden_size": None,
    }  # fmt: skip


def test_paths_start_at_the_file_that_says_them_and_may_lead_further(tmp_path, monkeypatch):
    """A recipe that runs from one folder only, or that takes a stray file for a shipped recipe."""
    (tmp_path / "team").mkdir()
    written(tmp_path / "team", "base", "extends: quickstart\nname: base\nseed: 5\n")
    path = written(tmp_path, "mine", "extends: team/base.yaml\nname: mine\nnum_seeds: 1\n")
    written(tmp_path, "quickstart", "[]")
    monkeypatch.chdir(tmp_path)
    recipe = read_recipe(path, ["seed=6", "distillation.alpha=0.25"])
    assert (recipe.name, recipe.seed, recipe.num_seeds) == ("mine", 6, 1)
    assert recipe.distillation.alpha == 0.25


def test_recipes_that_write_texts_extend_one_another(tmp_path):
    """The fields of an encoder would be asked what may be null in a translation."""
    path = written(tmp_path, "a", "extends: translation\nname: a\ndistillation: {alpha: null}\n")
    assert read_recipe(path).name == "a"


@pytest.mark.parametrize(
    ("text", "fact", "remedy"),
    [
        ("extends: quikstart\nname: a\n", "extends 'quikstart'", "did you mean quickstart"),
        ("extends: no/where.yaml\nname: a\n", "there is no file", "check the path"),
        ("extends: [quickstart]\nname: a\n", "extends is \\['quickstart'\\]", "extends: quick"),
        ("extends: quickstart\n", "has no name", "name: a"),
        ("extends: a.yaml\nname: a\n", "extends itself: a → a", "write out"),
        ("extends: b.yaml\nname: a\n", "extends itself: b → b", "write out"),
    ],
)
def test_what_cannot_be_extended_is_told(tmp_path, text, fact, remedy):
    """An endless loop, a traceback, or a run that takes the place of another recipe's."""
    written(tmp_path, "b", "extends: b.yaml\nname: b\n")
    with pytest.raises(RecipeError, match=fact) as caught:
        read_recipe(written(tmp_path, "a", text))
    assert remedy in caught.value.remedy


def test_an_error_in_an_extended_file_names_that_file(tmp_path):
    """The line would be looked for in the wrong file."""
    written(tmp_path, "base", "name: base\nname: twice\n")
    with pytest.raises(RecipeError, match=r"base\.yaml"):
        read_recipe(written(tmp_path, "a", "extends: base.yaml\nname: a\n"))


def test_a_path_that_leads_nowhere_is_answered_with_the_file_beside_it(tmp_path):
    """`check the path`, and forty names of recipes that nobody asked for."""
    (tmp_path / "mine.yaml").write_text("extends: quickstart\nname: mine\n", encoding="utf-8")
    meant = f"did you mean {tmp_path / 'mine.yaml'}?"
    for given in (tmp_path / "mine.yml", tmp_path / "mien.yaml"):
        with pytest.raises(RecipeError, match="there is no recipe") as told:
            find_recipe(str(given))
        assert told.value.remedy == meant
    with pytest.raises(RecipeError, match="which is a folder"):
        find_recipe(str(tmp_path))
    with pytest.raises(RecipeError) as told:
        find_recipe(str(tmp_path / "reviews.yaml"))
    assert told.value.remedy == "check the path", "another recipe of the same deep folder"


def test_recipes_that_cannot_be_looked_at_are_told(tmp_path, locked):
    """A traceback for a colleague's folder, a home that nobody has or a path pasted twice."""
    reasons = {
        f"{locked}/mine.yaml": "Permission denied",
        "~nobody-of-this-name/mine.yaml": "home directory",
        "x" * 300 + ".yaml": "File name too long",
    }
    for name, reason in reasons.items():
        extending = written(tmp_path, "a", f"extends: {name}\nname: a\n")
        asked = ((find_recipe, name), (recipe_name, name), (recipe_values, extending))
        for ask, wanted in asked:
            with pytest.raises(RecipeError, match=reason) as caught:
                ask(wanted)
            assert caught.value.fact.startswith(f"recipe {name} cannot be read: ")
            assert caught.value.remedy == "check the path and its permissions"
    # What is no text, as before.
    (tmp_path / "b.yaml").write_bytes(b"\xff")
    with pytest.raises(RecipeError, match="cannot be read: 'utf-8'"):
        recipe_values(str(tmp_path / "b.yaml"))
