"""The shipped recipes: one at least for each form of distillation, and each can be planned."""

import pytest

from flows.orchestration.partial import step_of
from flows.orchestration.planner import plan
from flows.pipeline import step_names
from flows.recipe.loading.files import read_recipe
from flows.recipe.loading.inheritance import recipe_values, shipped_recipes
from flows.recipe.recipe import Recipe
from flows.studies.study import GOAL, check_space
from tasks.runtime.artifacts import ArtifactStore

OF_INTENTS = [
    name
    for name in shipped_recipes()
    if recipe_values(name)["data"]["sources"][0]["format"] == "home_assistant_intents"
]
FORMS = {
    "another loss, with a schedule": lambda r: any(
        hasattr(term.weight, "kind") for term in r.distillation.terms
    ),
    "layers compared": lambda r: r.student.matching,
    "several teachers": lambda r: r.co_teachers,
    "several source languages drawn evenly": lambda r: (
        r.student.training.language_temperature and len(r.student_languages) > 1
    ),
    "mutual learning": lambda r: r.mutual,
    "mutual learning of teacher and student": lambda r: r.mutual and r.mutual.teacher,
    "self-distillation": lambda r: r.student.ema,
    "several companions of a student": lambda r: r.student.matching and r.student.ema,
    "adaptation": lambda r: r.adaptation,
    "adversary": lambda r: r.student.adversary,
    "layers of the teacher": lambda r: r.student_copies_teacher,
    "vocabulary trimming": lambda r: r.student.tokenizer.kind == "trimmed",
    "width pruning": lambda r: (
        r.student.architecture.init == "pretrained" and r.student.architecture.hidden_size
    ),
    "narrow embeddings": lambda r: getattr(r.student.architecture, "embedding_size", None),
    "static student": lambda r: r.student.architecture.init == "static",
    "few trained weights": lambda r: (
        getattr(dict(r.teacher)["training"], "trainable", None) == "lora"
    ),
    "tuning of losses and shapes": lambda r: (
        r.tuning
        and {"distillation.terms", "student.architecture"}
        <= {parameter.path for parameter in r.tuning.parameters}
    ),
}


@pytest.fixture(scope="module")
def recipes():
    read = {name: read_recipe(name) for name in shipped_recipes()}
    return {name: recipe for name, recipe in read.items() if isinstance(recipe, Recipe)}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_a_recipe(form, recipes):
    """A form that nobody can try without reading the code."""
    assert [name for name, recipe in recipes.items() if FORMS[form](recipe)]


@pytest.mark.parametrize("name", OF_INTENTS)
def test_recipes_of_the_intents_can_be_planned_offline(name, tmp_path, recipes):
    """A recipe that is refused at its third step, where no download was to be needed."""
    recipe = recipes[name]
    steps = plan(recipe, ArtifactStore(tmp_path))
    assert [step.name for step in steps] == step_names(recipe)
    assert not any(step.cached for step in steps)


def test_recipes_of_the_intents_share_corpus_and_teacher(recipes):
    """Each form would fine-tune a teacher of its own: minutes instead of seconds, and no
    comparison of like with like."""
    base = recipes["quickstart"]
    names = [
        one
        for one in OF_INTENTS
        if recipe_values(one)["data"] == recipe_values("quickstart")["data"]
    ]
    assert len(names) > 10
    for name in names:
        assert step_of(recipes[name], "corpus").config == step_of(base, "corpus").config
        if name != "adapters":
            assert step_of(recipes[name], "teacher").config == step_of(base, "teacher").config


def test_models_of_different_recipes_have_names_of_their_own(recipes):
    """A form that was tried once would become the next version of the quickstart's model."""
    names = [recipe.registration_config().model_name for recipe in recipes.values()]
    assert len(set(names)) == len(names)


def test_studies_can_begin(recipes):
    """A study that is refused after the teacher has been fine-tuned."""
    with_study = [recipe for recipe in recipes.values() if recipe.tuning]
    assert len(with_study) >= 2
    for recipe in with_study:
        check_space(recipe, recipe.tuning)
        assert step_of(recipe, GOAL)
