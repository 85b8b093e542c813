"""Agreement with the teacher is joined by id, and told of each language apart."""

from types import SimpleNamespace

import numpy as np

from data_contracts.evaluation import TEACHER_ON_TARGET, Diagnostics
from tasks.comparison.sections.agreement import agreement_by_language, share_of_equal_answers
from tasks.comparison.sections.languages import InLanguage
from tasks.metrics.systems import Answers

DIAGNOSTICS = Diagnostics(
    rows="transfer rows, which the student trained on",
    num_rows=50,
    agreement=0.75,
    agreement_by_class={},
    teacher_entropy_nats=0.1,
    teacher_confidence=0.9,
    pseudo_label_accuracy=None,
)


def answers(ids, *runs):
    return Answers(tuple(ids), None, np.array(runs), ())


def there(language, problem="text_classification", **found):
    return InLanguage(language, SimpleNamespace(name=problem), found)


def test_answers_are_compared_by_id_and_of_the_delivered_seed_alone():
    """Joined by position, a student of another order disagrees with everything."""
    teacher = answers(["a", "b", "c", "x"], [0, 1, 2, 0])
    student = answers(["c", "a", "b", "y"], [2, 0, 0, 0], [0, 1, 1, 0])
    # a: 0 and 0, b: 1 and 0, c: 2 and 2; x and y are read by one alone.
    assert share_of_equal_answers(teacher, student) == (3, 2 / 3)
    assert share_of_equal_answers(teacher, answers(["y"], [0])) is None


def test_sets_and_spans_agree_as_a_whole():
    """A span half right, or one class of three, is another answer."""
    spans = [[(0, 2), (5, 9)], [], [(1, 2)]]
    decided = [[(0, 2)], [], [(1, 2)]]
    first, second = (Answers(("a", "b", "c"), None, [one], ()) for one in (spans, decided))
    assert share_of_equal_answers(first, second) == (3, 2 / 3)


def test_each_language_has_its_own_teacher_answers():
    """A mean over languages hides the one in which the student follows nobody."""
    teacher = answers(["e1", "e2"], [0, 1])
    chinese = there(
        "zh",
        student=answers(["z1", "z2"], [0, 1]),
        **{TEACHER_ON_TARGET: answers(["z1", "z2"], [0, 0])},
    )
    english = there("en", student=answers(["e1", "e2"], [0, 1]))
    swahili = there("sw", student=answers(["s1"], [0]))  # which the teacher does not read
    found = list(agreement_by_language([chinese, english, swahili], teacher, DIAGNOSTICS))
    assert [(one.language, one.num_rows, one.agreement) for one in found] == [
        ("zh", 2, 0.5),
        ("en", 2, 1.0),
    ]
    assert {one.rows for one in found} == {"test rows both read"}


def test_a_student_of_one_language_is_told_of_by_the_rows_it_shares_with_its_teacher():
    """Nothing said of the only language there is."""
    teacher, student = answers(["e1"], [0]), answers(["z1"], [0])
    [one] = agreement_by_language([there("zh", student=student)], teacher, DIAGNOSTICS)
    assert (one.language, one.rows, one.num_rows, one.agreement) == (
        "zh", DIAGNOSTICS.rows, 50, 0.75,
    )  # fmt: skip
    assert not [*agreement_by_language([there("zh", student=student)], teacher, None)]


def test_vectors_are_not_said_to_disagree():
    """Nearest neighbours by number: 0 % for a student with exactly its teacher's vectors."""
    same = answers(["a", "b"], [0, 1])
    found = agreement_by_language([there("zh", "sentence_embedding", student=same)], same, None)
    assert not [*found]
