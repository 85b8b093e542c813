"""What the signals looked like, by hand."""

import math

import numpy as np
import pytest

from tasks.metrics.diagnostics import (
    diagnose,
    diagnose_answers,
    diagnose_sets,
    pseudo_label_accuracy,
)

LN3 = math.log(3)


def test_agreement_entropy_and_confidence_by_hand():
    """Agreement by the student's class instead of the teacher's hides an ignored class."""
    teacher = np.array([[LN3, 0.0], [LN3, 0.0], [0.0, LN3], [0.0, LN3]])
    student = np.array([[9.0, 0.0], [0.0, 9.0], [0.0, 9.0], [0.0, 9.0]])
    found = diagnose(teacher, student, ("on", "off"), rows="rows", pseudo_label_accuracy=None)
    assert found.agreement == 0.75
    assert found.agreement_by_class == {"on": 0.5, "off": 1.0}
    assert found.teacher_confidence == pytest.approx(0.75)
    assert found.teacher_entropy_nats == pytest.approx(
        -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    )


def test_rows_that_do_not_match_are_refused():
    """Broadcasting one row over all gives a number for anything."""
    with pytest.raises(ValueError, match="differ"):
        diagnose(
            np.zeros((3, 2)), np.zeros((1, 2)), ("a", "b"), rows="", pseudo_label_accuracy=None
        )


def test_pseudo_labels_are_judged_on_labelled_rows_only():
    """-1 never equals a class: unlabelled rows would count as the teacher's mistakes."""
    assert pseudo_label_accuracy(np.array([0, 1, 1, 0]), np.array([0, -1, 0, -1])) == 0.5
    assert pseudo_label_accuracy(np.array([0, 1]), np.array([-1, -1])) is None


def test_sets_agree_as_a_whole_and_their_classes_where_the_teacher_chose_them():
    """Agreement over all decisions is near 1 wherever most classes are rare."""
    logits = np.array([[LN3, -LN3, -LN3], [LN3, LN3, -LN3], [-LN3, -LN3, -LN3]])
    from_teacher = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    said = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]])
    found = diagnose_sets(
        logits, from_teacher, said, ("on", "off", "dim"), rows="rows", pseudo_label_accuracy=None
    )
    assert found.agreement == pytest.approx(1 / 3)
    assert found.agreement_by_class == {"on": 1.0, "off": 0.0}  # dim is never the teacher's
    assert found.teacher_confidence == pytest.approx(0.75)
    assert found.teacher_entropy_nats == pytest.approx(
        -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    )
    assert (found.decided, found.num_rows) == ("set of classes", 3)
    with pytest.raises(ValueError, match="differ"):
        diagnose_sets(logits, from_teacher, said[:1], "abc", rows="", pseudo_label_accuracy=None)


def test_answers_agree_by_place_and_refusals_apart():
    """A student that never answers agrees with every refusal, and looks like half a student."""
    from_teacher = [(0, 2), None, (4, 9), None]
    said = [(0, 2), None, (4, 8), (1, 2)]
    found = diagnose_answers(
        from_teacher,
        said,
        entropy_nats=np.array([0.0, 1.0, 2.0, 3.0]),
        confidence=np.array([1.0, 0.5, 0.5, 0.0]),
        rows="rows",
        pseudo_label_accuracy=0.25,
    )
    assert (found.agreement, found.num_rows, found.decided) == (0.5, 4, "answer")
    assert found.agreement_by_class == {"in the context": 0.5, "none": 0.5}
    assert (found.teacher_entropy_nats, found.teacher_confidence) == (1.5, 0.5)
    only = diagnose_answers(
        from_teacher[:1], said[:1], entropy_nats=np.zeros(1), confidence=np.ones(1), rows="",
        pseudo_label_accuracy=None,
    )  # fmt: skip
    assert only.agreement_by_class == {"in the context": 1.0}
