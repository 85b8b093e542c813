import pytest

from data_contracts.errors import UserError
from tasks.problems import PROBLEMS
from tasks.serving.bundle.interfaces import INTERFACES, input_rows
from tasks.serving.export.parity import AGREEMENTS


def test_every_problem_of_the_engine_can_be_delivered():
    """A student trained for hours, and no way to hand it over."""
    assert set(PROBLEMS) <= set(INTERFACES)
    assert set(PROBLEMS) <= set(AGREEMENTS)
    for interface in INTERFACES.values():
        assert interface.script.is_file()


def test_examples_are_rows_of_the_input():
    """A context shown as the question."""
    assert input_rows("text_classification", ["早上好", ("晚安",)]) == [
        {"text": "早上好"},
        {"text": "晚安"},
    ]
    assert input_rows("question_answering", [("谁？", "我。")]) == [
        {"question": "谁？", "context": "我。"}
    ]


@pytest.mark.parametrize(
    ("problem", "example"), [("question_answering", "谁？"), ("text_classification", ("a", "b"))]
)
def test_an_example_of_another_shape_is_told(problem, example):
    """A registration that fails after the training, with a pandas traceback."""
    with pytest.raises(UserError, match="holds") as told:
        input_rows(problem, [example])
    assert "registration.example_texts" in told.value.remedy
