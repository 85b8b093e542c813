"""Teachers weighed by their languages, in the eyes of a real encoder of letters."""

import pytest

from data_contracts.errors import ContractViolation
from tasks.training.multi_teacher.teacher_languages import teacher_weights

TEXTS = {
    "train": {
        "en": ["a b c", "a a b", "b c a", "c a a", "b b a"],
        "ja": ["x y z", "x y w", "w w x", "z y y", "y x x"],
        "ko": ["x k y", "l y x", "k k z", "z l w", "l x x"],
    },
    "transfer": {"zh": ["x y z", "y w x", "w x x"]},
    "validation": {"zh": ["z z y"]},
}


@pytest.fixture
def weigh(tmp_path, letter_encoder, write_texts):
    """Weighs teachers of the given languages by the texts above."""
    write_texts(tmp_path / "corpus", TEXTS)

    def run(*languages, similarity="learned", max_texts=9, seed=0, target="zh"):
        return teacher_weights(
            tmp_path / "corpus", letter_encoder, languages=languages, target=target,
            similarity=similarity, max_texts=max_texts, seed=seed,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("similarity", ["cosine", "learned"])
def test_the_nearer_the_language_the_more_its_teacher_counts(weigh, similarity):
    """A target written in the letters of one teacher, and another is believed."""
    found = weigh(["en", "zh"], ["ja"], ["ko"], similarity=similarity)
    english, japanese, korean = found.weights_K
    assert english < korean < japanese
    assert sum(found.weights_K) == pytest.approx(1.0, abs=1e-5)
    assert (found.scores == found.weights_K.tolist()) == (similarity == "learned")


def test_what_the_identifier_is_worth_is_told(weigh):
    """Weights of an identifier that guesses look like any others."""
    figures = weigh(["en"], ["ja"]).figures
    assert figures["language_accuracy"] == 1.0  # they share no letter
    assert figures["tau"] > 0
    assert weigh(["en"], ["ja"], similarity="cosine").figures == {}


def test_teachers_of_one_language_share_its_weight_evenly(weigh):
    """A second Japanese teacher makes Japanese count twice, and English as good as nothing."""
    english, japanese = weigh(["en"], ["ja"]).scores
    found = weigh(["ja"], ["en"], ["zh", "ja"])  # no train rows are Chinese
    assert found.scores == pytest.approx([japanese / 2, english, japanese / 2], abs=2e-6)


def test_the_order_of_teachers_in_a_recipe_does_not_matter(weigh):
    """A teacher that counts more for being named first."""
    one = weigh(["en"], ["ja"], ["ko"])
    other = weigh(["ko"], ["en"], ["ja"])
    assert other.scores == [one.scores[k] for k in (2, 0, 1)]
    assert other.figures == one.figures


def test_the_same_texts_give_the_same_weights_again(weigh):
    """A cached artifact that cannot be built again; a seed that nobody reads."""
    one = weigh(["en"], ["ja"], seed=1)
    assert weigh(["en"], ["ja"], seed=1).scores == one.scores
    assert weigh(["en"], ["ja"], seed=2).figures != one.figures


def test_teachers_that_learned_from_the_same_texts_are_refused(weigh):
    """An identifier trained to tell English from English: weights of one half that look found."""
    with pytest.raises(ContractViolation, match="2 teachers learned from the same 5 texts"):
        weigh(["en"], ["zh", "en"])


@pytest.mark.parametrize("similarity", ["cosine", "learned"])
def test_a_language_without_texts_is_named(weigh, similarity):
    """The mean of nothing: NaN for every teacher."""
    with pytest.raises(ContractViolation, match="no texts in de or fr to compare"):
        weigh(["en"], ["de", "fr"], similarity=similarity)
    with pytest.raises(ContractViolation, match="no texts in th to compare"):
        weigh(["en"], ["ja"], similarity=similarity, target="th")
