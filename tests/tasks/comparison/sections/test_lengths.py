"""Parts by length: about equally large, in order, and nothing lost or counted twice."""

import numpy as np
import pytest

from tasks.comparison.sections.lengths import length_groups
from tasks.metrics.class_answers import MEASURES, class_answers

RNG = np.random.default_rng(0)


def answers_of(lengths, right_up_to, prefix="zh"):
    """Answers that are right for texts of at most so many units."""
    labels = np.zeros(len(lengths), dtype=np.int64)
    decided = (np.array(lengths) > right_up_to).astype(np.int64)
    ids = tuple(f"{prefix}{i}" for i in range(len(lengths)))
    sure = np.ones((1, len(lengths)))
    return class_answers(ids, labels, decided[None], sure, num_classes=2)


def test_long_texts_are_told_apart_from_short_ones():
    """A mean of 75 % hides that every text beyond thirty words is answered wrongly."""
    lengths = RNG.permutation(np.arange(1, 121)).tolist()
    systems = {"student": answers_of(lengths, 90), "majority": answers_of(lengths, 30)}
    found = length_groups(lengths, systems, MEASURES, column="words")
    assert [(one.column, one.value, one.num_examples) for one in found] == [
        ("words", "1 to 30", 30),
        ("words", "31 to 60", 30),
        ("words", "61 to 90", 30),
        ("words", "91 to 120", 30),
    ]
    assert [one.scores["student"]["accuracy"] for one in found] == [1, 1, 1, 0]
    assert [one.scores["majority"]["accuracy"] for one in found] == [1, 0, 0, 0]


def test_equal_lengths_share_a_part_and_none_is_lost():
    """Texts of one length in two parts make two lines of the same name, and a reader adds one."""
    lengths = [5] * 70 + [6] * 20 + [40] * 30
    found = length_groups(lengths, {"student": answers_of(lengths, 9)}, MEASURES, column="words")
    assert [(one.value, one.num_examples) for one in found] == [("5", 70), ("6 to 40", 50)]


@pytest.mark.parametrize(("number", "sizes"), [(75, [25] * 3), (99, [33] * 3), (51, [25, 26])])
def test_fewer_examples_make_fewer_parts(number, sizes):
    """A first part of half the test set, and nothing told of the other short ones."""
    lengths = list(range(1, number + 1))
    found = length_groups(lengths, {"student": answers_of(lengths, 9)}, MEASURES, column="words")
    assert [one.num_examples for one in found] == sizes


def test_one_long_text_is_no_part():
    """A line of a single example says that all long texts fail."""
    lengths = [5] * 60 + [7] * 39 + [90]
    found = length_groups(lengths, {"student": answers_of(lengths, 9)}, MEASURES, column="words")
    assert [(one.value, one.num_examples) for one in found] == [("5", 60), ("7 to 90", 40)]


def test_questions_without_an_answer_belong_to_no_part():
    """An answer of no length is not a short one."""
    lengths = [0] * 60 + [3] * 30 + [8] * 30
    found = length_groups(lengths, {"student": answers_of(lengths, 5)}, MEASURES, column="words")
    assert [(one.value, one.num_examples) for one in found] == [("3", 30), ("8", 30)]


@pytest.mark.parametrize("lengths", [[1, 2, 3, 4] * 12, [7] * 200, [5] * 99 + [6]])
def test_too_few_examples_or_one_length_make_no_parts(lengths):
    """Four lines of twelve texts each invite conclusions from nothing."""
    assert length_groups(lengths, {"student": answers_of(lengths, 2)}, MEASURES, column="w") == ()


def test_a_teacher_tested_on_its_own_texts_is_left_out():
    """The lengths of Chinese texts would part the scores of English ones."""
    lengths = list(range(1, 61))
    systems = {
        "student": answers_of(lengths, 30),
        "teacher": answers_of(lengths, 60, prefix="en"),
    }
    found = length_groups(lengths, systems, MEASURES, column="words")
    assert [[*one.scores] for one in found] == [["student"], ["student"]]
