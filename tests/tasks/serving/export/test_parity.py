import numpy as np
import pyarrow as pa
import pytest

from tasks.problems import PROBLEMS
from tasks.serving.export.parity import AGREEMENTS, logit


def test_single_answers_are_compared_by_their_class():
    """Scores that differ and answers that do not: the int8 form is refused for nothing."""
    ours = np.array([[1.0, 2.0], [3.0, 0.0], [0.1, 0.0]])
    theirs = np.array([[0.0, 9.0], [0.2, 0.1], [0.0, 0.1]])
    for problem in ("text_classification", "matching", "token_classification"):
        agreement, count = AGREEMENTS[problem](None, None, ours, theirs, ())
        assert (agreement, count) == (pytest.approx(2 / 3), 3)


def test_label_sets_are_compared_at_their_thresholds():
    """Nearly all of many labels are absent in both: 0.999 agreement, and every set differs."""
    serving = {"thresholds": [0.5, 0.9, 0.5]}
    ours = logit(np.array([[0.6, 0.8, 0.1], [0.2, 0.95, 0.2]]))
    theirs = logit(np.array([[0.6, 0.92, 0.1], [0.2, 0.95, 0.2]]))
    # ours {0}, {1}; theirs {0, 1}, {1}: 2 in common, 2 + 3 in all
    wanted = 2 * 2 / 5
    found = AGREEMENTS["multilabel_classification"](None, None, ours, theirs, serving)
    assert found == (pytest.approx(wanted), 2)
    nothing = np.full((2, 3), -9.0)
    found = AGREEMENTS["multilabel_classification"](None, None, nothing, nothing, serving)
    assert found == (1.0, 2)


def test_answers_are_compared_by_context():
    """Windows compared one by one count a context's agreement as often as it is long."""
    problem = PROBLEMS["question_answering"]
    table = pa.table(
        {
            "example_id": ["a", "a", "b"],
            "input_ids": [[2, 5, 6], [2, 6, 7], [2, 8, 9]],
            "first_unit": pa.array([0, 1, 0], pa.int32()),
            "num_units": pa.array([3, 3, 2], pa.int32()),
            "unit_positions": pa.array([[1, 2], [1, 2], [1, 2]], pa.list_(pa.int32())),
            "start_unit": pa.array([0, 0, 0], pa.int32()),
            "end_unit": pa.array([0, 0, 1], pa.int32()),
        }
    )
    answers = problem.answers(table, num_labels=2)
    ours = np.zeros((9, 2), np.float32)
    ours[[2, 4]] = 5.0  # of `a` unit 1, in both windows
    ours[7] = 5.0  # of `b` unit 0
    theirs = ours.copy()
    theirs[7], theirs[8] = 0.0, 5.0  # of `b` unit 1
    serving = {"null_threshold": 0.0}
    compare = AGREEMENTS["question_answering"]
    assert compare(table, answers, ours, theirs, serving) == (0.5, 2)
    assert compare(table, answers, ours, ours, serving) == (1.0, 2)
    # a second unit is likelier by a little: longer answers differ
    ours[8, 1], theirs = 6.0, ours.copy()
    theirs[8, 1] = 4.0
    assert compare(table, answers, ours, theirs, serving) == (0.5, 2)
    assert compare(table, answers, ours, theirs, {**serving, "max_answer_units": 1}) == (1.0, 2)
