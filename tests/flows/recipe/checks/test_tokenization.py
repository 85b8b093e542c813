"""What a recipe asks of how texts are read, and its problem's rows do not have."""

import pytest

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import read_recipe


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("quickstart", "student.max_target_tokens=9", "student.max_target_tokens is 9"),
        ("quickstart", "teacher.max_question_tokens=9", "text_classification have no questions"),
        (
            "several_teachers",
            "co_teachers.low_rank.window_stride_tokens=9",
            r"co_teachers\.low_rank\.window_stride_tokens is 9",
        ),
        ("mutual", "mutual.peers.0.max_target_tokens=9", r"mutual\.peers\.0\.max_target_tokens is"),
        ("question_answering", "student.max_target_tokens=9", "have no target texts"),
        ("matching", "student.max_answer_units=9", "rows of matching have no questions"),
        ("ner", "student.window_stride_tokens=9", "token_classification have no questions"),
        ("ner", "teacher.pooling=cls", r"teacher\.pooling is cls, but networks of token_class"),
        ("question_answering", "student.architecture.pooling=cls", r"architecture\.pooling is cls"),
    ],
)
def test_reading_that_a_problem_does_not_have_is_refused(name, change, told):
    """An option that does nothing: a study of it measures noise, and the same tokens are made anew
    under another key."""
    with pytest.raises(RecipeError, match=told):
        read_recipe(name, [change])


def test_answers_of_all_readers_are_equally_long_at_most():
    """A student that may answer in sentences gains on a teacher that may not, by the rule alone."""
    both = ["teacher.max_answer_units=60", "student.max_answer_units=60"]
    with pytest.raises(RecipeError, match=r"differs \(teacher 30, student 60\)"):
        read_recipe("question_answering", both[1:])
    recipe = read_recipe("question_answering", both)
    assert recipe.student_tokens_config().max_answer_units == 60
    read_recipe(
        "question_answering", ["student.max_answer_units=30"]
    )  # the usual number, spelt out
