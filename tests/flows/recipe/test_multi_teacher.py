"""Further teachers in a recipe: steps of their own, and nothing changed where there are none."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.pipeline import run_steps, step_names
from flows.recipe.loading.files import check_recipe
from flows.recipe.multi_teacher import DECIDED_BY_THRESHOLDS
from tasks.problems import PROBLEMS


def values_of(tiny, **sections):
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    again = {**values["teacher"], "max_length_tokens": 12}
    return {**values, "co_teachers": {"short": again}, **sections}


def walked(recipe):
    """Name of each step → (its configuration, names of its inputs' steps)."""
    found = {}

    def write_down(name, stage, config, /, **inputs):
        found[name] = (config, inputs)
        return name

    run_steps(recipe, write_down)
    return found


def in_several_labels(values):
    for source in values["data"]["sources"]:
        columns = source["columns"]
        columns["labels"] = columns.pop("label")
        source["label_separator"] = ","
    return {**values, "problem": "multilabel_classification"}


def test_teachers_that_are_described_alike_are_trained_apart(tiny):
    """An ensemble of one network, counted three times: its mean is its own prediction."""
    values = values_of(tiny)
    first = values["teacher"]
    shorter = values["co_teachers"]["short"]
    asked_less = {**shorter, "signals": {"roles": ["transfer"]}}
    values["co_teachers"] = {"twin": first, "short": shorter, "third": first, "shorter": asked_less}
    steps = walked(check_recipe(values, name="tiny"))
    names = ("teacher", "teacher-third", "teacher-twin", "teacher-short", "teacher-shorter")
    assert [steps[name][0].seed for name in names] == [0, 1, 2, 0, 1]


def test_each_teacher_is_fine_tuned_and_asked_and_students_learn_from_all(tiny):
    """A second teacher that is paid for, and whose prediction nobody reads."""
    recipe = check_recipe(values_of(tiny), name="tiny")
    steps = walked(recipe)
    assert steps["teacher-short"][1] == {"tokens": "teacher-tokens-short"}
    assert steps["teacher-tokens-short"][0].max_length_tokens == 12
    assert steps["teacher-signals-short"][1] == {
        "teacher": "teacher-short", "tokens": "signal-tokens-short"
    }  # fmt: skip
    combined = steps["teacher-signals-combined"]
    assert combined[0].teachers == ("teacher", "short")
    assert combined[1] == {
        "signals_teacher": "teacher-signals", "signals_short": "teacher-signals-short"
    }  # fmt: skip
    for name in ("student-seed-0", "pseudo-labels-seed-0"):
        assert steps[name][1]["signals"] == "teacher-signals-combined"
    assert steps["evaluation"][1]["teacher_signals"] == "teacher-signals-combined"


@pytest.mark.parametrize(
    ("weighting", "read"),
    [
        (
            {"weighting": "validation"},
            {"teacher_teacher": "teacher", "teacher_short": "teacher-short"},
        ),
        ({"weighting": "similarity"}, {"corpus": "corpus"}),
        ({"weighting": "fixed", "weights": {"teacher": 1, "short": 2}}, {}),
    ],
)
def test_a_weighting_reads_what_it_needs_and_nothing_else(tiny, weighting, read):
    """Signals averaged again because of a corpus that they never looked at."""
    recipe = check_recipe(values_of(tiny, combination=weighting), name="tiny")
    config, inputs = walked(recipe)["teacher-signals-combined"]
    rest = {name: step for name, step in inputs.items() if not name.startswith("signals_")}
    assert rest == read
    similar = weighting["weighting"] == "similarity"
    assert config.locations() == ((str(tiny / "teacher"),) if similar else ())
    assert config.languages == ((("en",), ("en",)) if similar else ())


def test_an_identifier_of_languages_is_trained_with_the_seed_of_the_recipe(tiny):
    """A seed that moves everything but this; one that changes the key where nothing is trained."""
    values = values_of(tiny, combination={"weighting": "similarity", "similarity": "learned"})
    values["seed"] = 5
    with pytest.raises(RecipeError, match=r"2 teachers have the same languages \(en\)"):
        check_recipe(values, name="tiny")
    values["co_teachers"]["short"]["languages"] = ["de"]
    english = next(s for s in values["data"]["sources"] if s["role"] == "train")
    values["data"]["sources"].append({**english, "name": "german", "language": "de"})
    config, _ = walked(check_recipe(values, name="tiny"))["teacher-signals-combined"]
    assert (config.seed, config.languages) == (5, (("en",), ("de",)))
    values["combination"] = {"weighting": "similarity"}
    config, _ = walked(check_recipe(values, name="tiny"))["teacher-signals-combined"]
    assert "seed" not in config.model_dump()


def test_one_teacher_is_one_as_before(tiny):
    """Every key of every recipe changed by a feature it does not use."""
    values = values_of(tiny)
    del values["co_teachers"]
    names = step_names(check_recipe(values, name="tiny"))
    assert not [name for name in names if "combined" in name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"co_teachers": {"tokens": {}}}, "a co-teacher is called 'tokens'"),
        ({"co_teachers": {"A b": {}}}, "a co-teacher is called 'A b'"),
        ({"combination": {"weighting": "fixed"}}, "fixed takes one a teacher"),
        ({"combination": {"weighting": "fixed", "weights": {"x": 1}}}, "the teachers are teacher"),
    ],
)
def test_what_cannot_be_combined_is_refused_before_anything_runs(tiny, change, message):
    """Told after two teachers were trained for hours."""
    values = values_of(tiny)
    if "co_teachers" in change:
        (name,) = change["co_teachers"]
        change = {"co_teachers": {name: values["co_teachers"]["short"]}}
    with pytest.raises(RecipeError, match=message):
        check_recipe({**values, **change}, name="tiny")


def test_a_co_teacher_needs_rows_to_learn_from(tiny):
    """A German teacher without a German row, noticed when it starts."""
    values = values_of(tiny)
    values["co_teachers"]["short"]["languages"] = ["de"]
    with pytest.raises(RecipeError, match=r"the role train and a language of the teacher \(de\)"):
        check_recipe(values, name="tiny")


def test_combining_one_teacher_is_refused(tiny):
    """Weights that are believed to be in use."""
    values = values_of(tiny, combination={"weighting": "confidence"})
    del values["co_teachers"]
    with pytest.raises(RecipeError, match="combination is given, but there is one teacher"):
        check_recipe(values, name="tiny")


def test_thresholds_are_tuned_where_the_problem_decides_by_them(tiny):
    """The step would have no gold labels to tune on, or a key that changes for nothing."""
    decided = {name for name, problem in PROBLEMS.items() if problem.has_thresholds}
    assert decided == DECIDED_BY_THRESHOLDS
    values = in_several_labels(values_of(tiny))
    steps = walked(check_recipe(values, name="tiny"))
    assert steps["teacher-signals-combined"][1]["tokens"] == "signal-tokens"
    assert (
        "tokens"
        not in walked(check_recipe(values_of(tiny), name="tiny"))["teacher-signals-combined"][1]
    )


def test_thresholds_have_rows_to_be_tuned_on(tiny):
    """Labels decided at 0.5 without a word, because the teachers were asked of transfer rows."""
    values = values_of(tiny)
    for section in (values["teacher"], values["co_teachers"]["short"]):
        section["signals"] = {"roles": ["transfer"]}
    names = ("signal-tokens", "teacher-signals", "signal-tokens-short", "teacher-signals-short")

    def asked(recipe):
        steps = walked(check_recipe(recipe, name="tiny"))
        return [steps[name][0].roles for name in names if name in steps]

    # Where nothing is tuned, keys stay as they are.
    assert asked(values) == [("transfer", "test")] * 4
    values = in_several_labels(values)
    assert asked(values) == [("transfer", "validation", "test")] * 4
    del values["co_teachers"]
    assert asked(values) == [("transfer", "test")] * 2
