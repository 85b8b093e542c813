"""Layer terms of a recipe: what the two networks cannot share is told before anything runs."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.orchestration.runner import Options, run_pipeline
from flows.preflight.refusals import check_before_run, check_before_training
from flows.recipe.loading.files import check_recipe


def values_of(tiny, *terms, **student):
    """A teacher that reads Chinese, and a student with the teacher's own tokenizer."""
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["teacher"]["languages"] = ["zh", "en"]
    tokenizer = {"kind": "trimmed", "uri": str(tiny / "teacher")}
    values["student"] |= {"tokenizer": tokenizer, "matching": list(terms), **student}
    return values


TERMS = {
    "token_mse": {"kind": "token_mse"},
    "relations": {"kind": "relations", "num_relation_heads": 4, "weight": 0.5},
    "attention": {"kind": "attention", "layers": [[2, 1]]},
    "attention_scores": {"kind": "attention_scores"},
}


def test_tokens_are_compared_where_both_read_the_same_ones(tiny):
    """A field that is read, and never reaches the student."""
    recipe = check_recipe(values_of(tiny, *TERMS.values()), name="tiny")
    matching = recipe.student_config(0).matching
    assert [term.title for term in matching] == list(TERMS)
    assert all(term.reads_tokens for term in matching)
    assert matching[1].weight == 0.5
    assert recipe.supervised_config(0).matching == ()
    whole = {"kind": "pretrained", "uri": f"{tiny / 'teacher'}/tokenizer.json"}
    check_recipe(values_of(tiny, TERMS["token_mse"], tokenizer=whole), name="tiny")


@pytest.mark.parametrize("kind", TERMS)
@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("student", {"tokenizer": {"kind": "bpe"}}, "tokenizer is bpe, the teacher's that of"),
        (
            "student",
            {"tokenizer": {"kind": "trimmed", "uri": "pkg://other/model"}},
            "trimmed from pkg://other/model/tokenizer.json, the teacher's",
        ),
        ("student", {"max_length_tokens": 23}, "teacher reads 24 tokens of a text and the stu"),
        ("teacher", {"languages": ["en", "zh"]}, "the teacher reads the text in en, the student"),
    ],
)
def test_other_tokens_are_refused_before_anything_runs(tiny, kind, section, change, message):
    """Token 3 of an English sentence against token 3 of a Chinese one, for a day of training."""
    values = values_of(tiny, TERMS[kind])
    values[section] |= change
    with pytest.raises(RecipeError, match=message):
        check_recipe(values, name="tiny")


def test_a_vocabulary_with_a_limit_cuts_texts_in_its_own_way(tiny):
    """Refused row by row, after the teacher's training."""
    values = values_of(tiny, TERMS["token_mse"])
    values["student"]["tokenizer"]["vocab_size"] = 1000
    with pytest.raises(RecipeError, match="trimmed to vocab_size 1,000 may cut texts"):
        check_recipe(values, name="tiny")


@pytest.mark.parametrize(
    ("problem", "term", "message"),
    [
        ("question_answering", "hidden_mse", r"of question_answering do not have"),
        ("token_classification", "hidden_mse", r"compares text vectors \(hidden_mse\)"),
    ],
)
def test_problems_without_what_is_compared_are_refused(tiny, problem, term, message):
    """Told when the student begins, hours after its teacher did."""
    values = values_of(tiny, {"kind": term}) | {"problem": problem}
    for source in values["data"]["sources"]:
        source.pop("parallel_language", None)
        source["columns"] = {"text": "text", "spans": "label"}
        if problem == "question_answering":
            source["columns"] = {"text": "text", "question": "label", "answers": "label"}
    values["distillation"] = {"temperature": 1.0}  # as answers to questions need it
    values["registration"]["example_texts"] = (
        [["一", "二"]] if problem == "question_answering" else ["一"]
    )
    with pytest.raises(RecipeError, match=message):
        check_recipe(values, name="tiny")


def test_windows_of_questions_are_compared_if_both_cut_them_alike(tiny):
    """Windows that begin elsewhere, found when the teacher has been trained and asked."""
    values = values_of(tiny, TERMS["token_mse"]) | {"problem": "question_answering"}
    for source in values["data"]["sources"]:
        source.pop("parallel_language", None)
        source["columns"] = {"text": "text", "question": "label", "answers": "label"}
    values["distillation"] = {"temperature": 1.0}  # as answers to questions need it
    values["registration"]["example_texts"] = [["一", "二"]]
    check_recipe(values, name="tiny")
    values["student"]["window_stride_tokens"] = 8
    with pytest.raises(RecipeError, match=r"window_stride_tokens is 8, the teacher's not set"):
        check_recipe(values, name="tiny")


def test_relation_heads_divide_the_student_s_width(tiny):
    """Two shapes that do not fit, found when the teacher has been trained and asked."""
    values = values_of(tiny, {"kind": "relations"})
    with pytest.raises(RecipeError, match=r"num_relation_heads is 12, which does not divide .* 32"):
        check_recipe(values, name="tiny")
    values["student"]["architecture"] = {"init": "static"}
    with pytest.raises(RecipeError, match="init: static has none"):
        check_recipe(values, name="tiny")


@pytest.mark.parametrize("layers", [{"last": 3}, [[1, 1], [3, 2]]])
def test_layers_that_the_student_does_not_have_are_refused(tiny, layers):
    """A teacher is fine-tuned for an hour before the student's shape is looked at."""
    values = values_of(tiny, {"kind": "token_mse", "layers": layers})
    values["student"]["architecture"] |= {"num_layers": 2}
    with pytest.raises(RecipeError, match="needs 3 layers of the student, which has 2"):
        check_recipe(values, name="tiny")
    values["student"]["architecture"] |= {"num_layers": 3}
    check_recipe(values, name="tiny")


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            {"kind": "token_mse", "layers": {"last": 2}},
            r"student\.matching\.0 \(token_mse\) needs 2 layers of the teacher, but .* has 1",
        ),
        ({"kind": "cka", "layers": [[1, 1], [2, 3]]}, r"\(cka\) needs 3 layers of the teacher"),
        ({"kind": "attention", "layers": "uniform"}, r"student\.matching\.0: .* which has 1"),
        ({"kind": "relations", "num_relation_heads": 3}, r"is 3, which does not .* width 32"),
    ],
)
def test_layers_that_the_teacher_does_not_have_are_refused_before_it_is_trained(
    tiny, store, term, message
):
    """Hours of fine-tuning a teacher of six layers for a recipe that compares eight."""
    values = values_of(tiny, term)
    # The student has them: a teacher is at fault.
    values["student"]["architecture"] |= {"num_layers": 2, "hidden_size": 24}
    recipe = check_recipe(values, name="tiny")
    for asked in (check_before_run, check_before_training):
        with pytest.raises(RecipeError, match=message) as caught:
            asked(recipe)
        assert caught.value.rule
        assert caught.value.remedy
    with pytest.raises(RecipeError, match=message):
        run_pipeline(recipe, store=store, options=Options())
    assert not (store.root / "artifacts").exists()


def test_layers_that_the_teacher_has_are_compared(tiny):
    """A recipe that always ran, refused by a check that is to save time."""
    for term in (*TERMS.values(), {"kind": "cka", "layers": [[2, 1], [1, 0]]}):
        check_before_run(check_recipe(values_of(tiny, term), name="tiny"))


def test_a_teacher_that_is_not_here_yet_is_left_to_the_run(tiny):
    """A server that hands recipes to other machines has none of their models."""
    values = values_of(tiny, {"kind": "cka", "layers": {"last": 2}})
    values["student"]["architecture"] |= {"num_layers": 2}
    values["teacher"]["model"] = "s3://bucket/teacher"
    check_before_run(check_recipe(values, name="tiny"))


@pytest.mark.parametrize("layers", ["uniform", "last", {"last": 2}, [[1, 1]], [[0, 1], [1, 1]]])
def test_a_static_student_has_layer_0_alone(tiny, layers):
    """Nothing compared and no word of it, or a refusal hours after the teacher began."""
    values = values_of(tiny, {"kind": "hidden_mse", "layers": layers})
    values["student"]["architecture"] = {"init": "static"}
    with pytest.raises(
        RecipeError, match=r"a static student has layer 0 alone: name pairs \[0, n\]"
    ):
        check_recipe(values, name="tiny")
    values["student"]["matching"] = [{"kind": "hidden_mse", "layers": [[0, 1]]}]
    check_before_run(check_recipe(values, name="tiny"))


@pytest.mark.parametrize(
    ("kept", "layers", "needed"),
    [
        ({"num_layers": 2}, {"last": 4}, 4),
        ({"num_layers": 2, "layers": "first"}, [[3, 1]], 3),
        ({"layers": [0, 5]}, [[5, 6]], 5),
    ],
)
def test_layers_that_a_student_cut_out_of_a_model_does_not_have_are_refused(
    tiny, kept, layers, needed
):
    """Told when the student begins: the recipe says how many layers it keeps."""
    values = values_of(tiny, {"kind": "hidden_mse", "layers": layers})
    values["student"]["architecture"] = {"init": "pretrained", **kept}
    with pytest.raises(RecipeError, match=f"needs {needed} layers of the student, which has 2"):
        check_recipe(values, name="tiny")
    values["student"]["matching"] = [{"kind": "hidden_mse", "layers": [[2, 1]]}]
    check_recipe(values, name="tiny")


def test_layers_of_a_cut_student_are_paired_with_those_of_its_teacher(tiny):
    """Uniform of a student twice as deep, found when its teacher has been trained."""
    values = values_of(tiny, {"kind": "attention", "layers": "uniform"})
    values["student"]["architecture"] = {"init": "pretrained", "layers": [0, 0]}
    recipe = check_recipe(values, name="tiny")
    with pytest.raises(RecipeError, match=r"layer 1 of the student's 2"):
        check_before_run(recipe)


def test_a_field_of_another_kind_of_term_is_not_a_field(tiny):
    """Relation heads of a term that has none, believed to be in use."""
    with pytest.raises(RecipeError, match="num_relation_heads is not a field"):
        check_recipe(values_of(tiny, {"kind": "token_mse", "num_relation_heads": 4}), name="tiny")


def test_layers_that_are_frozen_cannot_learn(tiny):
    """A teacher that reads along at each step, for weights that never move."""
    values = values_of(tiny, TERMS["token_mse"])
    values["student"]["training"] = {**values["student"]["training"], "trainable": "head"}
    with pytest.raises(RecipeError, match=r"student\.training\.trainable: head"):
        check_recipe(values, name="tiny")
    values["student"]["training"]["embedding_updates"] = "dense"
    check_recipe(values, name="tiny")
