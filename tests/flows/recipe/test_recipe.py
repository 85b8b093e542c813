"""The recipe: complete, described, free of contradictions; and what it tells each step."""

import json

import pytest
import yaml

from data_contracts.artifacts import Frozen
from data_contracts.errors import RecipeError, UserError
from flows.pipeline import run_steps
from flows.recipe.loading.files import check_recipe, read_recipe
from flows.recipe.loading.inheritance import SHIPPED
from flows.recipe.recipe import Recipe
from tasks.problems import PROBLEMS
from tests.flows.recipe_probes import all_models, refusal


def test_every_field_of_the_recipe_is_described():
    """The form of a deployment would show a bare name, and nobody would know its unit."""
    models = all_models(Recipe, set())
    assert len(models) > 15
    missing = [
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not field.description or len(field.description) < 10
    ]
    assert missing == []


def test_every_section_is_frozen_and_refuses_unknown_keys():
    """A misspelt learning rate would train with the default and look fine."""
    for model in all_models(Recipe, set()):
        assert issubclass(model, Frozen), model
        assert model.model_config["extra"] == "forbid"


def test_the_json_schema_shows_units_and_limits():
    """Prefect's form is made of this schema."""
    schema = json.loads(json.dumps(Recipe.model_json_schema()))
    assert set(schema["required"]) >= {"name", "data", "teacher", "student", "registration"}
    rate = schema["$defs"]["TrainingConfig"]["properties"]["learning_rate"]
    assert rate["description"]
    assert rate["maximum"] == 1


def test_seeds_differ_by_one_and_everything_else_is_equal():
    """Mean ± sd over three copies of one student would be a fine 0."""
    recipe = read_recipe("quickstart", ["seed=7"])
    first, second = recipe.student_config(0), recipe.student_config(1)
    assert (first.seed, second.seed) == (7, 8)
    assert first.model_copy(update={"seed": 8}) == second


def test_the_zero_shot_student_may_pass_over_its_few_rows_as_often_as_it_needs():
    """With 701 source rows against 4,900 pairs it would be a student stopped at a seventh."""
    read = ["student.languages=[zh, en]", "baselines.zero_shot=true"]
    recipe = read_recipe("quickstart", [*read, "baselines.zero_shot_epochs=9"])
    assert recipe.zero_shot_config(0).training.num_epochs == 9
    assert recipe.student_config(0).training.num_epochs == 2
    assert read_recipe("quickstart", read).zero_shot_config(0).training.num_epochs == 2
    assert "zero_shot is off" in str(refusal("baselines.zero_shot_epochs=9"))


def test_the_supervised_student_may_pass_over_its_few_rows_as_often_as_it_needs():
    """With 941 labelled rows among 12,935 the bound would be a student stopped at a fourteenth."""
    recipe = read_recipe("quickstart", ["baselines.supervised_epochs=9"])
    assert recipe.supervised_config(0).training.num_epochs == 9
    assert recipe.student_config(0).training.num_epochs == 2
    assert read_recipe("quickstart").supervised_config(0).training.num_epochs == 2
    unused = ["baselines.supervised=false", "baselines.supervised_epochs=9"]
    assert "supervised is off" in str(refusal(*unused))


def test_baselines_differ_from_the_student_in_their_objective_alone():
    """The gain over no distillation would measure another thing than distillation."""
    recipe = read_recipe("quickstart")
    student, pseudo = recipe.student_config(0), recipe.pseudo_label_config(0)
    gold = recipe.supervised_config(0)
    assert pseudo.model_copy(update={"objective": student.objective}) == student
    assert gold.model_copy(update={"objective": student.objective}) == student
    assert (pseudo.objective.alpha, pseudo.objective.hard_labels) == (0.0, "teacher")
    assert (gold.objective.alpha, gold.objective.hard_labels) == (0.0, "gold")


def test_no_student_but_the_bound_is_trained_on_gold_labels_in_the_quickstart():
    """The promise of the quickstart: no label of the target language in the student's loss."""
    recipe = read_recipe("quickstart")
    assert recipe.student_config(0).objective.hard_labels != "gold"


def test_precision_is_resolved_before_keys_are_made():
    """One key would name bf16 weights on one machine and fp32 weights on another."""
    recipe = read_recipe("quickstart")
    assert recipe.student_config(0).training.precision in ("fp32", "bf16")
    assert recipe.teacher_config().training.precision in ("fp32", "bf16")
    assert recipe.teacher_signals_config().precision in ("fp32", "bf16")


def test_a_section_that_contradicts_itself_is_refused():
    """The contradiction would show up an hour later, in a stage that cannot explain it."""
    assert "hard_labels is 'none'" in refusal("distillation.hard_labels=none").fact


@pytest.mark.parametrize(
    ("language", "texts"),
    [("de", ("Guten Morgen",)), ("zh-TW", ("早上好",)), ("qaa", ("1 2 3",))],
)
def test_examples_are_in_the_target_language_and_not_the_users_texts(tiny, language, texts):
    """A German model whose card asks it a Chinese question."""
    values = json.loads(
        (tiny / "recipe.yaml").read_text(encoding="utf-8").replace('"zh"', f'"{language}"')
    )
    values["data"]["sources"][-1]["columns"]["text"] = "zh"
    recipe = check_recipe(values, name="tiny")
    assert recipe.registration_config().example_texts == texts
    values["registration"]["example_texts"] = ["Licht an"]
    assert check_recipe(values, name="tiny").registration_config().example_texts == ("Licht an",)
    values["registration"]["example_texts"] = [["Licht an", "Licht aus"]]
    with pytest.raises(UserError, match="holds 2 texts"):
        check_recipe(values, name="tiny").registration_config()


def test_a_student_that_starts_from_the_teacher_gets_it(tiny):
    """The key of a student would not know which teacher its weights were copied from."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))

    def inputs():
        found = {}

        def note(name, stage, config, /, **handles):
            found[name] = set(handles)
            return name

        run_steps(check_recipe(values, name="tiny"), note)
        return [found[f"{kind}-seed-0"] for kind in ("student", "pseudo-labels", "supervised")]

    assert not any("teacher" in given for given in inputs())
    values["student"]["architecture"] = {"init": "pretrained", "layers": [0]}
    values["student"]["tokenizer"] = {"kind": "trimmed", "uri": str(tiny / "teacher")}
    assert all("teacher" in given for given in inputs())
    values["student"]["architecture"]["model"] = str(tiny / "teacher")
    assert not any("teacher" in given for given in inputs())
    assert str(tiny / "teacher") in check_recipe(values, name="tiny").student_config(0).locations()


READING = {
    "models": ["teacher", "student"],
    "roles": ["transfer"],
    "training": {"num_epochs": 1, "learning_rate": 0.001},
}


def written_down(recipe):
    """Step name → names of its inputs."""
    steps = {}

    def note(name, stage, config, /, **inputs):
        steps[name] = inputs
        return name

    run_steps(recipe, note)
    return steps


def test_encoders_read_on_only_where_the_recipe_says_so(tiny):
    """A student that is said to have read on, and starts from nothing all the same."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    plain = written_down(check_recipe(values, name="tiny"))
    assert not any("adapted" in {name, *inputs} for name, inputs in plain.items())
    recipe = check_recipe({**values, "adaptation": READING}, name="tiny")
    steps = written_down(recipe)
    assert steps["adapted-teacher"] == {"corpus": "corpus", "tokens": "teacher-tokens"}
    assert steps["teacher"]["adapted"] == "adapted-teacher"
    assert steps["adapted-student"] == {"corpus": "corpus", "tokens": "student-tokens"}
    assert steps["student-seed-0"]["adapted"] == "adapted-student"
    assert recipe.adaptation_config("teacher").model == recipe.teacher.model
    assert recipe.adaptation_config("student").architecture == recipe.student.architecture
    assert recipe.adaptation_config("student").languages == (recipe.target_language,)


def test_a_student_trained_beside_its_teacher_is_given_it(tiny):
    """The key of a student would not know whose layers it was compared with."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["student"]["matching"] = [{"kind": "hidden_mse", "layers": "last"}]
    steps = written_down(check_recipe(values, name="tiny"))
    assert steps["student-seed-0"]["teacher"] == "teacher"
    assert steps["student-seed-0"]["teacher_tokens"] == "signal-tokens"
    assert "teacher_tokens" not in steps["supervised-seed-0"]
    values["student"] |= {"languages": ["zh", "en"], "adversary": {}, "ema": {}}
    values["distillation"] = {"train_on": ["transfer", "train"]}
    recipe = check_recipe(values, name="tiny")
    assert written_down(recipe)["student-seed-0"] == steps["student-seed-0"]
    student, baseline = recipe.student_config(0), recipe.supervised_config(0)
    assert all((student.matching, student.adversary, student.ema))
    assert not any((baseline.matching, baseline.adversary, baseline.ema))


def test_a_recipe_may_list_its_loss_terms():
    """A list of terms that the student's own configuration never sees."""
    terms = "[{kind: jsd, beta: 0.2, weight: {kind: cosine, start: 1, end: 0.2}}, {kind: hard}]"
    path = SHIPPED / "quickstart.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    values["distillation"] = {"terms": yaml.safe_load(terms)}
    recipe = check_recipe(values, name="quickstart")
    jsd, hard = recipe.student_config(0).objective.loss_terms
    assert (jsd.kind, jsd.beta, jsd.weight.end, hard.kind) == ("jsd", 0.2, 0.2, "hard")
    assert check_recipe(recipe.model_dump(mode="json"), name="quickstart") == recipe


def test_both_forms_of_the_loss_are_refused_with_their_remedy():
    """alpha would be ignored beside terms, and nobody would know."""
    error = refusal("distillation.terms=[{kind: kl}]")
    assert "alpha, temperature, hard_labels and 1 terms are both given" in error.fact
    values = yaml.safe_load((SHIPPED / "quickstart.yaml").read_text(encoding="utf-8"))
    values["distillation"] = {"terms": [{"kind": "jsd", "bta": 0.2}]}
    with pytest.raises(RecipeError) as caught:
        check_recipe(values, name="quickstart")
    assert "did you mean distillation.terms.0.beta?" in caught.value.remedy


def test_each_reader_of_pairs_reads_them_its_own_way():
    """A cross-encoder teaches a bi-encoder: one setting for both would spoil the teacher."""
    recipe = read_recipe("matching", ["student.pairs=apart"])
    assert recipe.student_tokens_config().pairs == "apart"
    assert recipe.teacher_tokens_config().pairs == "together"
    assert recipe.signal_tokens_config().pairs == "together"


def test_the_teachers_vectors_of_validation_rows_are_asked_for():
    """The step is chosen by them: without them a student is trained and cannot be validated."""
    recipe = read_recipe("sentence_embedding", ["teacher.signals.roles=[transfer]"])
    assert set(recipe.teacher_signals_config().roles) == {"transfer", "validation", "test"}
    assert recipe.teacher_tokens_config().roles == ("validation",)


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("multilabel", {"teacher", "student", "pseudo-labels", "supervised", "zero-shot"}),
        ("sentence_embedding", {"student"}),  # whose teacher is used as it is
        ("mutual", {"teacher", "student"}),
    ],
)
def test_what_a_problem_s_figures_chose_is_known_by_their_version(monkeypatch, name, trained):
    """A figure mended, and what the wrong one chose is served on; or, for one problem's figure,
    the models of all others are trained again."""
    recipe = read_recipe(name)
    monkeypatch.setattr(type(PROBLEMS[recipe.problem]), "score_version", 7)
    for own in (True, False):
        found = set()

        def note(step, stage, config, /, found=found, **inputs):
            version = stage.score_version(config) if stage.score_version else 1
            if version == 7:
                found.add(step.split("-seed-")[0])

        run_steps(recipe, note)
        assert found == (trained if own else set())
        monkeypatch.undo()


def test_the_target_language_or_all_languages_choose_the_step():
    """A student of eight languages whose step 99 texts of one of them chose, by chance."""
    by_target = read_recipe("sib200_languages", ("student.validate_on=target",))
    by_all = read_recipe("sib200_languages", ("student.validate_on=all",))
    for config in ("student_config", "pseudo_label_config", "zero_shot_config"):
        assert getattr(by_target, config)(0).validation_language == "zh"
        assert getattr(by_all, config)(0).validation_language is None
    assert "de" in by_all.student_languages


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
def test_no_shipped_recipe_asks_for_a_gain_over_students_it_does_not_train(name):
    """Hours of training, refused at the registry by a gate that nothing was measured for."""
    read_recipe(name).check_gates()


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("quickstart", ["baselines.pseudo_labels=false"]),
        ("sentence_embedding", ["registration.gates.min_gain_over_no_kd=-3"]),
        ("translation", ["baselines.pseudo_labels=false", "baselines.no_kd=false"]),
    ],
)
def test_a_gain_over_no_student_is_refused_before_anything_is_trained(name, off):
    """A night of a user's own recipe, lost to a default that nobody wrote into it."""
    recipe = read_recipe(name, off)
    with pytest.raises(RecipeError, match="trains no student without distillation"):
        recipe.check_gates()
    read_recipe(name, [*off, "registration.gates.min_gain_over_no_kd=null"]).check_gates()


def test_either_baseline_of_texts_is_enough_for_a_gain_over_no_distillation():
    """A recipe without gold texts could never pass the gate, though pseudo-labels measure it."""
    for name in ("pseudo_labels", "no_kd"):
        read_recipe("translation", [f"baselines.{name}=false"]).check_gates()


def test_agreement_of_an_int8_form_is_not_asked_of_a_student_without_one():
    """The default gate of classifiers, in a recipe of texts that does not mention it."""
    recipe = read_recipe("translation", ["registration.gates.min_int8_agreement=0.98"])
    with pytest.raises(RecipeError, match="delivered without an int8 form"):
        recipe.check_gates()


def test_a_gain_over_no_floor_is_refused_before_anything_is_trained():
    """Vectors have one floor, which `linear` switches off; the gate refused after the training."""
    asked = "registration.gates.min_gain_over_floor=1"
    read_recipe("sentence_embedding", [asked]).check_gates()
    recipe = read_recipe("sentence_embedding", [asked, "baselines.linear=false"])
    with pytest.raises(RecipeError, match=r"scores no floor \(baselines.linear\)") as refused:
        recipe.check_gates()
    assert "min_gain_over_floor is 1," in str(refused.value)
    # Elsewhere there is one that learns nothing: the majority class, the copied source.
    for name in ("quickstart", "ner", "matching", "multilabel", "question_answering"):
        read_recipe(name, [asked, "baselines.linear=false"]).check_gates()
    for name in ("translation", "summarization", "generation"):
        read_recipe(name, [asked]).check_gates()
