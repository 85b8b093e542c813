"""The recipe: complete, described, and refusing what it does not know."""

import json

import pytest
import yaml

from data_contracts.artifacts import Frozen
from data_contracts.errors import RecipeError, UserError
from flows.pipeline import pour, step_names
from flows.recipe import Recipe
from flows.recipe_fields import models_in
from flows.recipe_files import check_recipe, read_recipe
from flows.recipe_text import SHIPPED, shipped_recipes


def all_models(model, seen):
    if model not in seen:
        seen.add(model)
        for field in model.model_fields.values():
            for inner in models_in(field.annotation):
                all_models(inner, seen)
    return seen


def refusal(*overrides):
    with pytest.raises(RecipeError) as caught:
        read_recipe("quickstart", overrides)
    return caught.value


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


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_survives_yaml_and_json(name):
    """A deployment would run another recipe than the file it was made from."""
    recipe = read_recipe(name)
    text = yaml.safe_dump(recipe.model_dump(mode="json"), allow_unicode=True)
    assert check_recipe(yaml.safe_load(text), name=name) == recipe
    assert type(recipe).model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.name == name


def test_the_json_schema_shows_units_and_limits():
    """Prefect's form is made of this schema."""
    schema = json.loads(json.dumps(Recipe.model_json_schema()))
    assert set(schema["required"]) >= {"name", "data", "teacher", "student", "registration"}
    rate = schema["$defs"]["TrainingConfig"]["properties"]["learning_rate"]
    assert rate["description"]
    assert rate["maximum"] == 1


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


@pytest.mark.parametrize(
    ("overrides", "fact"),
    [
        (["source_language=de"], "the teacher would have nothing to learn from"),
        (["target_language=de"], "the student would have nothing to learn from"),
        (["distillation.hard_labels=none"], "hard_labels is 'none'"),
    ],
)
def test_sections_that_contradict_each_other_are_refused(overrides, fact):
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


def test_one_readable_source_does_not_excuse_an_unreadable_one(tiny):
    """Half of the transfer rows would be dropped as unreadable, and nobody told."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    pairs = values["data"]["sources"][-1]
    alone = json.loads(json.dumps(pairs))
    alone["name"] = "zh-alone"
    del alone["parallel_language"], alone["columns"]["parallel_text"]
    values["data"]["sources"].append(alone)
    with pytest.raises(RecipeError, match="is wanted of zh-alone, in another language") as refused:
        check_recipe(values, name="tiny")
    assert "zh-pairs" not in str(refused.value)
    values["data"]["sources"][-1]["language"] = "fr"  # read by neither teacher nor student
    with pytest.raises(RecipeError, match="zh-alone"):
        check_recipe(values, name="tiny")
    values["data"]["sources"][-1]["language"] = "en"
    check_recipe(values, name="tiny")


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


def test_the_supervised_bound_needs_labels(tiny):
    """It would be trained on no row at all."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    del values["data"]["sources"][-1]["columns"]["label"]
    with pytest.raises(RecipeError, match=r"baselines\.supervised needs gold labels"):
        check_recipe(values, name="tiny")


def test_a_student_that_starts_from_the_teacher_gets_it(tiny):
    """The key of a student would not know which teacher its weights were copied from."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))

    def inputs():
        found = {}

        def note(name, stage, config, /, **handles):
            found[name] = set(handles)
            return name

        pour(check_recipe(values, name="tiny"), note)
        return [found[f"{kind}-seed-0"] for kind in ("student", "pseudo-labels", "supervised")]

    assert not any("teacher" in given for given in inputs())
    values["student"]["architecture"] = {"init": "pretrained", "layers": [0]}
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

    pour(recipe, note)
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
    values["student"]["adversary"] = {}
    with pytest.raises(RecipeError, match="beside its teacher, against an adversary"):
        check_recipe(values, name="tiny")


def test_text_that_is_never_read_and_reading_without_text_are_refused(tiny):
    """Ten thousand reviews in the recipe, and a figure that owes nothing to them."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))

    def check(**sections):
        return check_recipe({**values, **sections}, name="tiny")

    [transfer] = [s for s in values["data"]["sources"] if s["role"] == "transfer"]
    columns = {"text": transfer["columns"]["text"]}
    only = {"name", "format", "uri", "language"}
    text = {**{key: transfer[key] for key in only}, "name": "more", "role": "adapt"}
    more = {**text, "columns": columns}
    data = {**values["data"], "sources": [*values["data"]["sources"], more]}
    with pytest.raises(RecipeError, match="more has the role adapt, but no section adaptation"):
        check(data=data)
    check(data=data, adaptation={**READING, "roles": ["adapt"]})
    with pytest.raises(RecipeError, match="adaptation would have nothing to read"):
        check(adaptation={**READING, "roles": ["adapt"]})
    with pytest.raises(RecipeError, match="which the student does not read"):
        check(adaptation={**READING, "roles": ["train"], "languages": ["en"]})
    # Text may also lend its words alone, to a tokenizer that is cut.
    lent = {"kind": "trimmed", "uri": values["teacher"]["model"], "roles": ["transfer", "adapt"]}
    student = {**values["student"], "tokenizer": lent}
    check(data=data, student=student)
    with pytest.raises(RecipeError, match="has adapt, but no source has that role"):
        check(student=student)


def test_a_wrong_field_of_a_pretrained_student_is_told_with_its_own_fields(tiny):
    """The fields of a shape, for somebody who copies layers."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["student"]["architecture"] = {"init": "pretrained", "num_layers": 2, "layer": "last"}
    with pytest.raises(RecipeError, match=r"did you mean student\.architecture\.layers") as caught:
        check_recipe(values, name="tiny")
    assert "embedding_size" not in caught.value.rule


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


@pytest.mark.parametrize(
    ("name", "terms", "said"),
    [
        ("question_answering", [{"kind": "dist"}], "holds dist, which question_answering"),
        ("question_answering", [{"kind": "kl"}, {"kind": "logit_mse"}], "holds logit_mse"),
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


def test_each_reader_of_pairs_reads_them_its_own_way():
    """A cross-encoder teaches a bi-encoder: one setting for both would spoil the teacher."""
    recipe = read_recipe("matching", ["student.pairs=apart"])
    assert recipe.student_tokens_config().pairs == "apart"
    assert recipe.teacher_tokens_config().pairs == "together"
    assert recipe.signal_tokens_config().pairs == "together"


STS = {"format": "csv", "uri": "sts.csv", "role": "test"}
STS |= {"columns": {"text": "a", "text_b": "b", "score": "s"}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"distillation": {"alpha": 1.0}}, r"distillation\.terms is missing"),
        ({"distillation": {"terms": [{"kind": "kl"}]}}, "holds kl, which sentence_embedding"),
        ({"baselines": {"supervised": False}}, r"baselines\.pseudo_labels is on"),
        ({"student": {"ema": {"decay": 0.9}}}, r"student\.ema is given"),
        (
            {"teacher": {"training": {"num_epochs": 1, "batch_size": 8, "learning_rate": 0.1}}},
            r"teacher\.training is given",
        ),
        ({"registration": {"gates": {}}}, r"min_gain_over_no_kd is -3"),
        ({"data": {"sources": [{"name": "sts", "language": "zh", **STS}]}}, "none of which the t"),
    ],
)
def test_sentence_embedding_refuses_what_needs_labels(changes, said):
    """A night of training, and then a gate that no student without labels can pass."""
    values = read_recipe("sentence_embedding").model_dump(mode="json", exclude_defaults=True)
    for section, fields in changes.items():
        if section == "data":
            values["data"]["sources"] += fields["sources"]
        elif section in ("distillation", "baselines"):
            values[section] = fields
        else:
            values[section].update(fields)
    with pytest.raises(RecipeError, match=said):
        check_recipe(values, name="sentence_embedding")


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


def test_the_teachers_vectors_of_validation_rows_are_asked_for():
    """The step is chosen by them: without them a student is trained and cannot be validated."""
    recipe = read_recipe("sentence_embedding", ["teacher.signals.roles=[transfer]"])
    assert set(recipe.teacher_signals_config().roles) == {"transfer", "validation", "test"}
    assert recipe.teacher_tokens_config().roles == ("validation",)
