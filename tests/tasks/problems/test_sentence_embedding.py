"""Sentence embeddings: what the teacher said is what is learned and scored."""

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.tables import check_table
from tasks.problems import PROBLEMS
from tasks.problems.problem import Answers

PROBLEM = PROBLEMS["sentence_embedding"]
IDS = pa.array([f"{row:032x}" for row in range(3)])
TOKENS = pa.table({"example_id": IDS})
VECTORS = np.array([[1, 0, 0], [0, 1, 0], [0, 0.6, 0.8]], np.float32)


def signals():
    nothing = PROBLEM.answers(TOKENS, num_labels=0)
    return PROBLEM.signal_table(TOKENS, VECTORS, nothing)


def test_what_a_teacher_said_comes_back_as_it_was():
    """Vectors read in the order of classes that do not exist: all their numbers lost."""
    said = signals()
    check_table(said, PROBLEM.signals_contract)
    answers = PROBLEM.answers(TOKENS, num_labels=0)
    assert (answers.labels == -1).all()
    found, same = PROBLEM.soft_targets(TOKENS, said, answers, order=())
    np.testing.assert_array_equal(found, VECTORS)
    assert same is answers
    soft_labels, counts = PROBLEM.soft_labels(said, num_labels=3)
    np.testing.assert_array_equal(soft_labels, VECTORS)
    assert PROBLEM.restated(IDS, soft_labels, counts) == said


def test_validation_asks_whether_sentences_are_found():
    """By hand: the second and third texts are exchanged; each direction finds one of three."""
    joined = TOKENS.append_column("embedding", signals()["embedding"])
    answers = PROBLEM.answers(joined, num_labels=0)
    np.testing.assert_array_equal(answers.labels, VECTORS)
    scores = PROBLEM.score(joined, VECTORS[[0, 2, 1]], answers, labels=())
    assert scores["accuracy_at_1"] == pytest.approx(1 / 3)
    assert scores["mrr"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    # |v1 - v2|² = 2 - 2 * 0.6, for two of three texts.
    assert scores["loss"] == pytest.approx(2 * 0.8 / 3)
    perfect = PROBLEM.score(joined, VECTORS, answers, labels=())
    assert perfect["accuracy_at_1"] == perfect["mrr"] == 1.0
    assert perfect["loss"] == pytest.approx(0, abs=1e-12)


def test_translations_of_one_sentence_do_not_compete():
    """Half of a data set with two translations a sentence could never be found; nor if copies read
    in two batches, which differ in their last bits, counted as two sentences."""
    twice = Answers(None, VECTORS[[0, 0, 1]] + np.array([[0], [3e-4], [0]], np.float32))
    students = np.array([[1, 0.1, 0], [1, 0, 0.1], [0, 1, 0]], np.float32)
    students /= np.linalg.norm(students, axis=1, keepdims=True)
    assert PROBLEM.score(TOKENS, students, twice, labels=())["accuracy_at_1"] == 1.0


def test_a_wrong_sentence_is_one_find_however_often_it_was_translated():
    """The step was chosen by ranks that the report does not know. By hand: the third text finds the
    sentence of the first two, then its own: second of the two sentences, not third of three rows.
    Back, its sentence is nearest to it."""
    teacher = Answers(None, VECTORS[[0, 0, 1]])
    students = np.array([[1, 0.1, 0], [1, 0.2, 0], [1, 0.9, 0]], np.float32)
    students /= np.linalg.norm(students, axis=1, keepdims=True)
    scores = PROBLEM.score(TOKENS, students, teacher, labels=())
    assert scores["mrr"] == pytest.approx((1 + 1 + 1 / 2 + 1 + 1 + 1) / 6)
    assert scores["accuracy_at_1"] == pytest.approx(5 / 6)
