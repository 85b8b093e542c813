"""Several classes a text, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import classification_report, f1_score

from tasks.metrics.scores.multilabel import (
    MEASURES,
    multilabel_answers,
    multilabel_table,
    tune_thresholds,
)
from tasks.metrics.statistics import size
from tasks.metrics.systems import scores_by_seed


def world(seed, num_texts=80, num_classes=5):
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_texts, num_classes)) < 0.3).astype(np.int64)
    labels[:, -1] = 0
    return rng, labels


def test_scores_are_those_of_scikit_learn():
    """Averages over classes that never occur would depend on the size of the label set."""
    rng, labels = world(0)
    decided = np.where(rng.random(labels.shape) < 0.8, labels, 1 - labels)
    answers = multilabel_answers([str(i) for i in range(80)], labels, [decided])
    [scores] = scores_by_seed(answers, MEASURES)
    assert scores["micro_f1"] == pytest.approx(f1_score(labels, decided, average="micro"))
    macro = f1_score(labels[:, :-1], decided[:, :-1], average="macro")
    assert scores["macro_f1"] == pytest.approx(macro)
    assert scores["subset_accuracy"] == pytest.approx((labels == decided).all(axis=1).mean())
    table = multilabel_table(answers, list("abcde"), system="student, seed 0")
    expected = classification_report(
        labels, decided, target_names=list("abcde"), output_dict=True, zero_division=0
    )
    for row in (*table.rows, table.micro, table.weighted):
        assert row.f1 == pytest.approx(expected[row.label]["f1-score"])
        assert row.support == expected[row.label]["support"]
    assert table.macro.f1 == pytest.approx(macro)


def test_averages_are_over_the_classes_that_occur_be_it_once():
    """A class that no text has, but a student decides, is no class to average over."""
    labels, decided = np.array([[1, 1, 0], [1, 0, 0]]), np.array([[1, 1, 1], [0, 0, 0]])
    answers = multilabel_answers(["a", "b"], labels, [decided])
    table = multilabel_table(answers, list("abc"), system="student, seed 0")
    # a: one of two found, and nothing else, F1 2/3; b: F1 1; c: decided once, never right.
    assert [row.f1 for row in table.rows] == pytest.approx([2 / 3, 1, 0])
    assert table.macro.f1 == pytest.approx((2 / 3 + 1) / 2)
    assert (table.macro.precision, table.macro.recall) == (1, 0.75)
    assert table.weighted.f1 == pytest.approx((2 * 2 / 3 + 1) / 3)
    assert table.accuracy == 0


def test_decisions_of_other_texts_are_refused():
    """One row of decisions is broadcast over all texts, and each is scored by the first one's."""
    with pytest.raises(ValueError, match=r"labels \(2, 3\) and decisions \(1, 3\) differ"):
        multilabel_answers(["a", "b"], np.ones((2, 3), int), [np.ones((1, 3), int)])
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        multilabel_answers([], np.ones((0, 3), int), [np.ones((0, 3), int)])


def test_a_text_adds_as_much_to_micro_f1_whatever_the_number_of_classes():
    """Three numbers a class: 20,000 texts of 4,000 classes were 2 GB a seed, and a permutation
    test's 10,000 products with them took hours."""
    rng, labels = world(1, num_classes=400)
    decided = np.where(rng.random(labels.shape) < 0.9, labels, 1 - labels)
    answers = multilabel_answers([str(i) for i in range(80)], labels, [decided])
    [statistics] = answers.of("micro_f1")
    assert size(statistics) == (80, 3)
    assert statistics.toarray()[7].tolist() == [
        (labels[7] & decided[7]).sum(), decided[7].sum(), labels[7].sum(),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_are_as_good_as_the_best_of_all(seed):
    """A threshold at a probability instead of between two decides the row it was read from."""
    rng, labels = world(seed)
    probabilities = np.round(np.clip(0.3 * labels + 0.6 * rng.random(labels.shape), 0, 1), 2)
    thresholds = tune_thresholds(probabilities, labels)
    for which in range(labels.shape[1] - 1):
        gold, scores = labels[:, which], probabilities[:, which]
        best = max(f1_score(gold, scores >= cut) for cut in np.unique(scores))
        assert f1_score(gold, scores >= thresholds[which]) == pytest.approx(best)
    assert thresholds[-1] == 0.5


def test_a_class_that_half_separates_keeps_half():
    """A threshold moved by nothing but chance is a setting nobody can explain."""
    probabilities = np.array([[0.9], [0.7], [0.4], [0.1]])
    assert tune_thresholds(probabilities, np.array([[1], [1], [0], [0]])).tolist() == [0.5]
    moved = tune_thresholds(probabilities, np.array([[1], [1], [1], [0]]))
    assert moved.tolist() == pytest.approx([0.25])
    assert tune_thresholds(np.array([[0.5], [0.1]]), np.array([[1], [0]])).tolist() == [0.5]
    # All rows have it, and the model is sure of none: below the least of them, however little.
    rare = tune_thresholds(np.array([[0.06], [0.04]]), np.array([[1], [1]]))
    assert rare.tolist() == pytest.approx([0.02])


def test_a_class_that_no_validation_row_has_keeps_half():
    """The threshold of a class that was never seen, among probabilities that say nothing of it."""
    probabilities = np.array([[0.2, 0.9], [0.1, 0.3]])
    assert tune_thresholds(probabilities, np.array([[0, 1], [0, 0]])).tolist() == [0.5, 0.5]
