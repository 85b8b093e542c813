"""Any of several classes: scored as they are delivered."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from tasks.metrics.scores.multilabel import tune_thresholds
from tasks.problems import PROBLEMS
from tasks.problems.problem import TeacherOutput

PROBLEM = PROBLEMS["multilabel_classification"]


def test_validation_scores_are_those_of_the_delivered_thresholds():
    """A model of rare classes, sure of none above one half, scored 0 at every step: the first was
    kept, and delivered with thresholds at which it knows them all."""
    gold = np.array([[1, 0], [0, 0], [1, 1], [0, 0]])
    logits = np.array([[-2.0, -5], [-4, -6], [-1.5, -3], [-5, -7]], np.float32)
    table = pa.table({"labels": [np.flatnonzero(row).tolist() for row in gold]})
    answers = PROBLEM.answers(table, num_labels=2)
    assert (answers.labels == gold).all()
    scores = PROBLEM.score(table, logits, answers, labels=["a", "b"])
    assert scores["micro_f1"] == scores["macro_f1"] == scores["subset_accuracy"] == 1
    thresholds = PROBLEM.thresholds(table, logits, answers)
    decided = PROBLEM.decisions(TeacherOutput(table, table, logits, answers, thresholds))
    assert (decided == gold).all()
    assert not PROBLEM.decisions(TeacherOutput(table, table, logits, answers, {})).any()


def test_validation_scores_are_those_of_their_definitions():
    """A mean over classes that no row has, or over decisions for one over rows: the step that is
    delivered is another."""
    rng = np.random.default_rng(0)
    gold = (rng.random((40, 4)) < 0.4).astype(np.int64)
    gold[:, 3] = 0
    logits = (2 * gold + rng.normal(size=gold.shape) - 1).astype(np.float32)
    table = pa.table({"labels": [np.flatnonzero(row).tolist() for row in gold]})
    answers = PROBLEM.answers(table, num_labels=4)
    probabilities = expit(logits.astype(np.float64))
    thresholds = PROBLEM.thresholds(table, logits, answers)["thresholds"]
    assert thresholds == tune_thresholds(probabilities, gold).tolist()
    decided = (probabilities >= thresholds).astype(np.int64)
    hits, both = (decided & gold).sum(0), decided.sum(0) + gold.sum(0)
    scores = PROBLEM.score(table, logits, answers, labels=["a", "b", "c", "d"])
    assert scores["micro_f1"] == pytest.approx(2 * hits.sum() / both.sum())
    assert scores["macro_f1"] == pytest.approx(np.mean(2 * hits[:3] / both[:3]))
    equal = [(one == other).all() for one, other in zip(decided, gold, strict=True)]
    assert 0 < np.mean(equal) < 1
    assert scores["subset_accuracy"] == pytest.approx(np.mean(equal))
    said = np.where(gold, probabilities, 1 - probabilities)
    assert scores["loss"] == pytest.approx(-np.log(said).mean())


@pytest.mark.parametrize("classes", [1, 3])
def test_one_class_alone_is_scored_by_its_own_f1(classes):
    """Rows of one class: their figures were those of "yes" and "no" together, and a network that
    finds one row of two was chosen for all the rows that are not of the class. By hand: one hit,
    two decided, one to be found."""
    gold = np.zeros((8, classes), np.int64)
    gold[1, 0] = 1
    logits = np.full(gold.shape, -5.0, np.float32)
    logits[:2, 0] = 2.0
    table = pa.table({"labels": [np.flatnonzero(row).tolist() for row in gold]})
    answers = PROBLEM.answers(table, num_labels=classes)
    scores = PROBLEM.score(table, logits, answers, labels=list("abc")[:classes])
    assert scores["micro_f1"] == scores["macro_f1"] == pytest.approx(2 / 3)
    assert scores["subset_accuracy"] == 7 / 8


def test_rows_without_any_class_are_scored():
    """The first validation ends in a traceback: a score over no column at all."""
    gold = np.zeros((3, 2), np.int64)
    table = pa.table({"labels": pa.array([[], [], []], pa.list_(pa.int32()))})
    answers = PROBLEM.answers(table, num_labels=2)
    assert (answers.labels == gold).all()
    logits = np.full(gold.shape, -3.0, np.float32)
    scores = PROBLEM.score(table, logits, answers, labels=["a", "b"])
    assert scores["macro_f1"] == scores["micro_f1"] == 0.0
    assert abs(scores["loss"] - np.log1p(np.exp(-3.0))) < 1e-6
