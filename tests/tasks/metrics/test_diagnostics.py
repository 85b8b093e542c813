"""What the signals looked like, by hand."""

import math

import numpy as np
import pytest

from tasks.metrics.diagnostics import diagnose, pseudo_label_accuracy

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
