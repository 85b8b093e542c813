"""What a recipe may ask of its problem: a misfit is told before anything runs."""

import pytest

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import check_recipe, read_recipe


@pytest.mark.parametrize(
    ("name", "terms", "said"),
    [
        ("question_answering", [{"kind": "dist"}], "holds dist, which question_answering"),
        ("question_answering", [{"kind": "kl"}, {"kind": "logit_mse"}], "holds logit_mse"),
        ("sentence_embedding", [{"kind": "kl"}], "holds kl, which sentence_embedding"),
    ],
)
def test_a_loss_that_a_problem_cannot_use_is_told_before_anything_runs(name, terms, said):
    """A day of training that ends in a traceback, or a loss that counts filler as units."""
    values = read_recipe(name).model_dump(mode="json", exclude_defaults=True)
    values["distillation"] = {"terms": terms}
    with pytest.raises(RecipeError, match=said):
        check_recipe(values, name=name)


def test_label_smoothing_over_units_is_refused():
    """Mass on the filler of shorter windows: a loss of hundreds of nats that nothing lowers."""
    for name in ("teacher", "student"):
        values = read_recipe("question_answering").model_dump(mode="json", exclude_defaults=True)
        values[name]["training"]["label_smoothing"] = 0.1
        with pytest.raises(RecipeError, match=rf"{name}\.training\.label_smoothing is 0\.1"):
            check_recipe(values, name="question_answering")


@pytest.mark.parametrize(
    ("distillation", "told"),
    [
        ({"alpha": 0.8, "temperature": 2.0}, "softens kd by a temperature of 2,"),
        ({"terms": [{"kind": "hard"}, {"kind": "jsd", "temperature": 4.0}]}, "softens jsd by"),
        (
            {"terms": [{"kind": "kl", "temperature": {"start": 4.0, "end": 1.0}}]},
            "a temperature that follows a schedule",
        ),
    ],
)
def test_answers_outside_a_window_cannot_be_softened(distillation, told):
    """The summed probability of a hundred units, softened as if it were one: half of what it is,
    and how much depends on where the window is cut."""
    values = read_recipe("question_answering").model_dump(mode="json", exclude_defaults=True)
    values["distillation"] = distillation
    with pytest.raises(RecipeError, match=told):
        check_recipe(values, name="question_answering")


@pytest.mark.parametrize("distillation", [None, {}, {"alpha": 0.8}])
def test_a_default_is_none_that_the_problem_refuses(distillation):
    """A recipe for questions without the section distillation was refused for a field it lacks."""
    values = read_recipe("question_answering").model_dump(mode="json", exclude_defaults=True)
    del values["distillation"]
    given = {} if distillation is None else {"distillation": distillation}
    recipe = check_recipe({**values, **given}, name="question_answering")
    stated = {**(distillation or {}), "temperature": 1.0}
    same = check_recipe({**values, "distillation": stated}, name="question_answering")
    assert recipe == same


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "quickstart",
            {"student": {"pairs": "apart"}},
            "student.pairs is apart, but rows of text_",
        ),
        ("sib200", {"teacher": {"pairs": "apart"}}, r"teacher\.pairs is apart"),
        (
            "matching",
            {"student": {"pairs": "apart", "matching": [{"kind": "hidden_mse", "layers": "last"}]}},
            r"student\.matching looks at one vector a row",
        ),
        (
            "matching",
            {"teacher": {"pairs": "apart", "adversary": {"groups": "role"}}},
            r"teacher\.adversary looks at one vector a row",
        ),
    ],
)
def test_pairs_are_read_apart_only_where_that_is_known_to_work(name, changes, said):
    """A student of single texts that waits for a second one, or half of each pair compared."""
    values = read_recipe(name).model_dump(mode="json", exclude_defaults=True)
    for section, fields in changes.items():
        values[section].update(fields)
    with pytest.raises(RecipeError, match=said):
        check_recipe(values, name=name)


def test_a_further_teacher_is_named_by_its_place_in_the_recipe():
    """`x.training is missing`, and no section x in the file."""
    with pytest.raises(RecipeError, match=r": co_teachers\.x\.training is missing"):
        read_recipe("quickstart", ["co_teachers.x.model=folder"])
    changes = ["co_teachers.x.model=folder", "co_teachers.x.training.num_epochs=1"]
    changes += ["co_teachers.x.training.learning_rate=0.1"]
    assert read_recipe("quickstart", changes)
    for field in ("pairs=apart", "training.selection=rouge_l"):
        told = "co_teachers.x." + field.partition("=")[0].replace(".", r"\.") + " is "
        with pytest.raises(RecipeError, match=told):
            read_recipe("quickstart", [*changes, f"co_teachers.x.{field}"])


def test_only_vectors_have_a_teacher_that_is_not_trained():
    """A head drawn at random would teach; or a loss of vectors compare the logits of classes."""
    values = read_recipe("quickstart").model_dump(mode="json", exclude_defaults=True)
    del values["teacher"]["training"]
    with pytest.raises(RecipeError, match=r"teacher\.training is missing"):
        check_recipe(values, name="quickstart")
    values = read_recipe("quickstart").model_dump(mode="json", exclude_defaults=True)
    values["distillation"] = {"terms": [{"kind": "embedding_mse"}]}
    with pytest.raises(RecipeError, match="compares vectors of sentences"):
        check_recipe(values, name="quickstart")


def test_a_student_that_learns_no_text_of_its_test_language_is_refused():
    """All students trained, and then the evaluation: no train rows in 'zh'."""
    values = read_recipe("multilabel").model_dump(mode="json", exclude_defaults=True)
    values["distillation"]["train_on"] = ["train"]
    values["baselines"]["supervised"] = False
    with pytest.raises(RecipeError, match="no source has the role train and the language zh"):
        check_recipe(values, name="multilabel")
    # Of English rows with their Chinese translations it would read the Chinese.
    values["distillation"]["train_on"] = ["transfer"]
    [source] = [one for one in values["data"]["sources"] if one["role"] == "transfer"]
    source |= {"language": "en", "parallel_language": "zh"}
    source["columns"]["parallel_text"] = "translation"
    check_recipe(values, name="multilabel")


@pytest.mark.parametrize("model", ["teacher", "student"])
def test_a_step_is_chosen_by_a_figure_that_the_problem_has(model):
    """A figure of another problem, told after the teacher was fine-tuned."""
    told = rf"{model}\.training\.selection is rouge_l, which text_classification does not measure"
    with pytest.raises(RecipeError, match=told):
        read_recipe("quickstart", [f"{model}.training.selection=rouge_l"])
    for figure in ("loss", "last", "macro_f1"):
        assert read_recipe("quickstart", [f"{model}.training.selection={figure}"])


def test_patience_beside_the_last_step_is_refused():
    """Twenty passes in vain: a field that is taken and does nothing."""
    changes = ["student.training.selection=last", "student.training.patience=2"]
    with pytest.raises(RecipeError, match="patience is 2, but selection: last never stops early"):
        read_recipe("quickstart", changes)
    assert read_recipe("quickstart", [changes[0], "student.training.patience=5"])
