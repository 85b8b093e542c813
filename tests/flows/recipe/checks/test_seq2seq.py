"""What a recipe of an encoder-decoder asks for and cannot have is told before anything runs."""

import pytest
from pydantic import ValidationError

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import check_recipe, read_recipe
from flows.recipe.loading.inheritance import recipe_values
from flows.recipe.seq2seq import Seq2SeqRecipe

PRETRAINED = "{init: pretrained, model: data/opus-mt-en-zh}"
OWN = "{kind: pretrained, uri: data/opus-mt-en-zh}"


def refusal(*overrides, name="translation"):
    with pytest.raises(RecipeError) as caught:
        read_recipe(name, overrides)
    return str(caught.value)


@pytest.mark.parametrize("model", ["teacher", "student"])
@pytest.mark.parametrize(
    "field",
    [
        "trainable=lora",
        "trainable=head",
        "class_weights=balanced",
        "embedding_updates=frozen",
    ],
)
def test_training_that_writers_do_not_have_is_refused(model, field):
    """A LoRA run that trains everything: figures that say nothing of what the recipe names."""
    assert f"{model}.training.{field.split('=')[0]} is" in refusal(f"{model}.training.{field}")


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "trimmed"])
def test_pretrained_weights_are_not_given_new_tokens(kind):
    """A translator that reads each word as another one: trained for hours, and 0.00 BLEU."""
    given = f"{{kind: {kind}, vocab_size: 500}}"
    if kind == "trimmed":
        given = "{kind: trimmed, uri: data/opus-mt-en-zh}"
    start = f"teacher.architecture={PRETRAINED}"
    told = refusal(start, f"teacher.tokenizer={given}")
    assert f"teacher.tokenizer is {kind}, but teacher.architecture starts from the" in told
    assert "leave it out" in told
    for tokenizer in ("null", OWN):
        assert read_recipe("translation", [start, f"teacher.tokenizer={tokenizer}"])
    student = [f"student.architecture={PRETRAINED}", "distillation.alpha=0"]
    told = refusal(*student, f"student.tokenizer={given}")
    assert f"student.tokenizer is {kind}, but student.architecture starts from the" in told
    assert read_recipe("translation", [*student, f"student.tokenizer={OWN}"])


def test_a_pretrained_student_is_not_given_its_teachers_new_tokens():
    """A vocabulary that is inherited because none was named, of this run's own words."""
    told = refusal(f"student.architecture={PRETRAINED}")
    assert "teacher.tokenizer is bpe, but student.architecture starts from the" in told
    assert "set student.tokenizer to {kind: pretrained, uri: data/opus-mt-en-zh}" in told
    # Layers of this run's own teacher know this run's own tokens.
    assert read_recipe("translation", ["student.architecture={init: pretrained}"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pairs", "apart"),
        ("max_question_tokens", 5),
        ("window_stride_tokens", 8),
        ("max_answer_units", 60),
    ],
)
def test_reading_that_writers_do_not_have_is_refused(field, value):
    """A limit that is passed over: texts read otherwise than the recipe says."""
    told = refusal(f"teacher.{field}={value}")
    assert f"teacher.{field} is {value}, but rows of translation" in told


@pytest.mark.parametrize("model", ["teacher", "student"])
def test_a_step_is_chosen_by_a_figure_that_the_problem_has(model):
    """A misspelt figure, told when the teacher has been trained for a day."""
    told = refusal(f"{model}.training.selection=rouge_l")
    assert f"{model}.training.selection is rouge_l, which translation does not measure" in told
    assert "one of auto, loss, last, bleu, chrf" in told
    for name, figure in (("translation", "chrf"), ("summarization", "rouge_2")):
        assert read_recipe(name, [f"{model}.training.selection={figure}"])


@pytest.mark.parametrize(
    ("name", "languages", "lacking"),
    [
        ("summarization", "[zh]", "en"),
        ("generation", "[en]", "zh"),
        ("translation", "[zh]", "en"),
    ],
)
def test_the_languages_that_the_report_tests_are_read(name, languages, lacking):
    """A run that fails at its report, after teacher and students are trained."""
    values = recipe_values(name)
    values["teacher"]["languages"] = languages.strip("[]").split()
    if name == "translation":
        values["data"]["sources"][0]["language"] = "zh"
    values["distillation"]["train_on"] = ["train"]
    with pytest.raises(RecipeError, match=f"without {lacking}, in which the report tests {name}"):
        check_recipe(values, name=name)


def test_opinions_are_of_the_texts_that_are_learnt():
    """A teacher asked about its own texts, a student of the given ones: refused row by row, after
    the teacher was trained."""
    told = refusal("distillation.targets=gold")
    assert "the teacher is asked about other texts (teacher.signals.targets: interpolation)" in told
    gold = ["distillation.targets=gold", "baselines.pseudo_labels=false"]
    assert read_recipe("translation", [*gold, "teacher.signals.targets=gold"])
    assert read_recipe("translation", ["distillation.targets=gold", "distillation.alpha=0"])


def test_the_baseline_without_distillation_is_not_trained_twice():
    """Pseudo-labels that are the given texts: the same weights under two names in a report."""
    gold = "teacher.signals.targets=gold"
    assert "it would be baselines.no_kd under another name" in refusal(gold)
    assert read_recipe("translation", [gold, "baselines.pseudo_labels=false"])
    # Texts without a given translation have the teacher's: no_kd does not learn them.
    values = recipe_values("translation")
    values["teacher"]["signals"]["targets"] = "gold"
    values["distillation"]["train_on"] = ["train", "transfer"]
    more = {"name": "more", "role": "transfer", "columns": {"text": "source"}}
    values["data"]["sources"].append({**values["data"]["sources"][0], **more})
    assert check_recipe(values, name="translation")


def test_the_teacher_has_positions_for_the_students_own_texts():
    """A text of 65 tokens, 64 positions: refused when the teacher was trained and asked."""
    share = "distillation.on_policy.share=0.5"
    told = refusal(share, "student.decoding.max_length_tokens=65")
    assert "student.decoding.max_length_tokens is 65, but the teacher" in told
    assert "has 64 positions at most" in told
    assert read_recipe("translation", [share, "student.decoding.max_length_tokens=64"])
    assert read_recipe("translation", ["student.decoding.max_length_tokens=65"])
    longer = ["student.decoding.max_length_tokens=65", "teacher.decoding.max_length_tokens=65"]
    assert read_recipe("translation", [share, *longer])


def test_a_problem_that_is_none_is_told_as_such():
    """A traceback instead of the list of problems, for a list where a name belongs."""
    for problem in (["translation"], 3, None):
        values = {**recipe_values("translation"), "problem": problem}
        with pytest.raises(RecipeError, match="problem"):
            check_recipe(values, name="translation")
    with pytest.raises(ValidationError, match="problem"):
        Seq2SeqRecipe.model_validate({**recipe_values("translation"), "problem": ["translation"]})


@pytest.mark.parametrize(
    ("layers", "told"),
    [("encoder_layers: 10", "encoder_layers is 10"), ("decoder_layers: [0, 7]", r"is [0, 7]")],
)
def test_layers_that_the_teacher_does_not_have_are_refused(layers, told):
    """Told by the student's step, when the teacher has been trained and asked about every row."""
    start = f"student.architecture={{init: pretrained, {layers}}}"
    assert f"{told}, but the teacher has 4" in refusal(start)
    assert read_recipe(
        "translation", ["student.architecture={init: pretrained, encoder_layers: 4}"]
    )


def test_a_student_of_the_teachers_layers_writes_no_longer_texts_than_those_have_positions():
    """As above."""
    changes = ["student.architecture={init: pretrained}", "student.decoding.max_length_tokens=2000"]
    assert "gives the student its positions (student.architecture), has 64" in refusal(*changes)
    assert read_recipe("translation", [*changes, "teacher.decoding.max_length_tokens=2000"])


def test_similarity_is_of_several_hypotheses():
    """Two runs of other hypotheses, it seems, and the same texts in both."""
    assert read_recipe("translation", ["teacher.signals={similarity: bleu}"])
    for targets in ("gold", "sequence"):
        changes = [f"teacher.signals={{targets: {targets}, similarity: bleu}}"]
        changes += ["distillation.targets=teacher", "baselines.pseudo_labels=false"]
        assert "teacher.signals.similarity is bleu, but with targets" in refusal(*changes)
