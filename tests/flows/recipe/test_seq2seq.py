"""Recipes of encoder-decoders: complete, described, and refusing what cannot work."""

import json

import pytest
import yaml

from data_contracts.artifacts import Frozen
from data_contracts.errors import RecipeError
from flows.pipeline import step_names
from flows.recipe.loading.files import check_recipe, encoder_recipe, read_recipe
from flows.recipe.loading.inheritance import recipe_values
from flows.recipe.recipe import Recipe
from flows.recipe.seq2seq import Seq2SeqRecipe
from tasks.modeling.encoder_decoder.config import DecodingConfig
from tests.flows.recipe_probes import all_models

NAMES = ("translation", "summarization", "package_synopses", "generation", "translation_losses")


def refusal(*overrides, name="translation"):
    with pytest.raises(RecipeError) as caught:
        read_recipe(name, overrides)
    return str(caught.value)


def test_every_field_is_described_and_unknown_ones_are_refused():
    """A misspelt lambda would train without a step on the student's own texts and look fine."""
    for model in all_models(Seq2SeqRecipe, set()):
        assert issubclass(model, Frozen), model
        assert model.model_config["extra"] == "forbid"
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert len(field.description) >= 10, f"{model.__name__}.{name}"
    found = refusal("distillation.on_policy.shares=0.3")
    assert "did you mean distillation.on_policy.share?" in found


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_survives_yaml_and_json(name):
    """A deployment would run another recipe than the file it was made from."""
    recipe = read_recipe(name)
    assert isinstance(recipe, Seq2SeqRecipe)
    text = yaml.safe_dump(recipe.model_dump(mode="json"), allow_unicode=True)
    assert check_recipe(yaml.safe_load(text), name=name) == recipe
    assert Seq2SeqRecipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_the_problem_decides_the_kind_of_recipe():
    """A translator's fields told to a classifier: errors about sections that are right."""
    assert isinstance(read_recipe("quickstart"), Recipe)
    with pytest.raises(RecipeError, match="problem translation"):
        encoder_recipe(read_recipe("translation"))
    json.dumps(Seq2SeqRecipe.model_json_schema())


def test_steps_have_the_names_they_have_elsewhere():
    names = step_names(read_recipe("translation", ["num_seeds=1"]))
    assert names == [
        "corpus", "teacher-tokens", "student-tokens", "teacher", "teacher-signals",
        "student-seed-0", "pseudo-labels-seed-0", "no-kd-seed-0", "export", "evaluation",
        "registration",
    ]  # fmt: skip


def test_students_read_the_teachers_tokens_unless_they_have_their_own():
    """Word-level signals name tokens: another vocabulary under the same ids teaches nonsense."""
    recipe = read_recipe("translation")
    assert recipe.student_tokens_config() == recipe.teacher_tokens_config()
    assert recipe.teacher_signals_config().decoding == recipe.teacher_config().decoding
    own = "student.tokenizer={kind: bpe, vocab_size: 500}"
    assert "leave student.tokenizer out" in refusal(own)
    texts = read_recipe("translation", [own, "distillation.alpha=0"])
    assert texts.student_tokens_config() != texts.teacher_tokens_config()


def test_terms_reach_the_student_and_nobody_else():
    """A list that baselines are trained with too, or that the student never sees."""
    plain, listed = read_recipe("translation"), read_recipe("translation_losses")
    config = listed.student_config(0)
    assert [term.kind for term in config.objective.terms] == ["jsd", "reverse_kl", "hard"]
    assert config.objective.targets == plain.student_config(0).objective.targets
    assert listed.pseudo_label_config(0) == plain.pseudo_label_config(0)
    assert listed.no_kd_config(0) == plain.no_kd_config(0)
    assert listed.teacher_signals_config() == plain.teacher_signals_config()


def test_one_vocabulary_is_asked_for_where_a_term_compares_distributions():
    """Ids of two vocabularies compared, or a student of texts alone that is refused its own."""
    own = "student.tokenizer={kind: bpe, vocab_size: 500}"
    assert "leave student.tokenizer out" in refusal(own, name="translation_losses")
    texts = "distillation.terms=[{kind: hard}]"
    assert read_recipe("translation_losses", [own, texts]).student_config(0)
    assert "alpha, temperature and 1 terms are both given" in refusal(texts)


def test_alpha_and_temperature_may_move():
    """A schedule that is refused in the short form, or that loses its shape on the way."""
    falling = "{kind: cosine, start: 0.9, end: 0.1}"
    recipe = read_recipe("translation", [f"distillation.alpha={falling}"])
    kd, hard = recipe.student_config(0).objective.loss_terms
    assert (kd.weight.kind, kd.weight.start, kd.weight.end) == ("cosine", 0.9, 0.1)
    assert hard.weight.end == 0.9
    assert "alpha is 2, but" in refusal("distillation.alpha=2")


def test_the_teacher_is_an_input_only_where_it_is_asked_or_copied():
    """On-policy steps without a teacher; a forced teacher retraining students that ignore it."""
    assert not read_recipe("translation").student_config(0).needs_teacher
    assert read_recipe("generation").student_config(0).needs_teacher
    assert not read_recipe("generation").no_kd_config(0).needs_teacher
    copied = read_recipe("translation", ["student.architecture={init: pretrained}"])
    assert copied.student_config(0).needs_teacher


def test_replies_need_no_data_of_ones_own():
    """The recipe for dialogues could not be tried without an account and a download."""
    recipe = read_recipe("generation")
    assert {source.format for source in recipe.data.sources} == {"home_assistant_replies"}
    assert "rows are texts with a reply; translation needs others" in refusal(
        "problem=translation", name="generation"
    )
    assert "rows are texts with a class; generation needs others" in refusal(
        "data.sources.0.format=home_assistant_intents", name="generation"
    )


def test_what_cannot_be_learnt_is_refused_early():
    assert "nothing to learn" in refusal("data.sources.0.language=de")
    assert "has no vocabulary yet" in refusal("teacher.tokenizer=null")
    transfer = ["distillation.train_on=[transfer]"]
    assert "role transfer" in refusal(*transfer)
    assert "alpha above 0" in refusal("distillation.alpha=0", name="generation")


def test_a_summary_is_read_in_the_language_it_is_written_in():
    """English texts for a Chinese summarizer: every row is in none of the reader's languages."""
    assert read_recipe("translation").teacher_tokens_config().languages == ("en",)
    synopses = read_recipe("package_synopses")
    assert synopses.teacher_tokens_config().languages == ("en", "de", "zh")
    own = read_recipe("summarization", ["teacher.languages=[]"])
    assert own.teacher_tokens_config().languages == ("en", "zh")
    alone = read_recipe("summarization", ["teacher.languages=[]", "source_language=zh"])
    assert alone.teacher_tokens_config().languages == ("zh",)


@pytest.mark.parametrize(
    ("name", "greeting"), [("translation", "Good morning"), ("summarization", "早上好")]
)
def test_an_example_that_nobody_gave_is_in_the_language_of_requests(name, greeting):
    """An English-to-Chinese translator registered with a Chinese request."""
    recipe = read_recipe(name, ["registration.example_texts=[]"])
    assert recipe.registration_config().example_texts == (greeting,)


SILENT = {
    "translation": {"num_beams": 4, "length_penalty": 1.0},
    "summarization": {"num_beams": 4, "min_length_tokens": 2, "no_repeat_ngram_size": 3},
    "generation": {"num_beams": 4, "no_repeat_ngram_size": 3},
}


@pytest.mark.parametrize("name", SILENT)
def test_texts_are_written_as_their_problem_says_unless_the_recipe_does(name):
    """A recipe silent about decoding, and its teacher wrote greedily: worse texts to learn from.

    What a deployment reads, which spells every field, must be the same recipe.
    """
    values = recipe_values(name)
    for section in ("teacher", "student"):
        del values[section]["decoding"]
    recipe = check_recipe(values, name=name)
    expected = DecodingConfig(**SILENT[name])
    assert recipe.teacher_config().decoding == expected
    assert recipe.teacher_signals_config().decoding == expected
    assert recipe.student_config(0).decoding == expected
    assert "decoding" not in values["teacher"]
    for whole in ({}, {"exclude_unset": True}):
        again = Seq2SeqRecipe.model_validate_json(recipe.model_dump_json(**whole))
        assert again.student_config(0) == recipe.student_config(0)


def test_decoding_that_a_recipe_states_is_taken_as_it_stands():
    """Keys of teachers and students that were trained before, changed by a default."""
    stated = read_recipe("translation", ["student.decoding={max_length_tokens: 30}"])
    assert stated.student_config(0).decoding == DecodingConfig(max_length_tokens=30)
    greedy = read_recipe("translation", ["student.decoding={}", "teacher.decoding={}"])
    assert greedy.student_config(0).decoding == DecodingConfig()
    assert greedy.teacher_config().decoding == DecodingConfig()
