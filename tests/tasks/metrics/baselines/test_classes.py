"""The floors learn what is there and nothing else."""

import numpy as np
import pytest

from tasks.metrics.baselines.classes import (
    linear_probabilities,
    linear_probabilities_by_class,
    majority_class,
)

TEXTS = [
    "打开客厅的灯",
    "打开卧室的灯",
    "关闭客厅的灯",
    "关闭卧室的灯",
    "今天天气怎么样",
    "明天天气如何",
]


def test_linear_floor_learns_chinese_without_spaces():
    """Word n-grams see one word in `打开客厅的灯`: the floor would be dishonestly low."""
    labels = np.array([0, 0, 1, 1, 3, 3])
    found, _ = linear_probabilities(
        TEXTS, labels, ["打开厨房的灯", "关闭厨房的灯", "后天天气好吗"], num_classes=5
    )
    assert found.argmax(axis=1).tolist() == [0, 1, 3]
    assert found.sum(axis=1) == pytest.approx(np.ones(3))
    assert found[:, [2, 4]].max() == 0.0


def test_pruning_keeps_what_many_texts_share():
    """From 1,000 texts on, n-grams of a single text are dropped; the shared ones decide."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 1200)
    texts = [f"{'abc'[label] * 3} {rng.integers(10**9)}" for label in labels]
    found, num_parameters = linear_probabilities(texts, labels, ["aaa", "ccc"], num_classes=3)
    assert found.argmax(axis=1).tolist() == [0, 2]
    assert num_parameters < 3 * 1300


def test_classes_by_themselves_are_learned_as_one_by_one():
    """Counting n-grams once for hundreds of classes must not change what the floor answers."""
    asked = ["打开厨房的灯", "关闭厨房的灯", "后天天气好吗"]
    labels = np.array([[1, 0, 0, 1], [1, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1]] * 2)
    texts = [*TEXTS[:5], *(f"{text}吧" for text in TEXTS[:5])]
    found = linear_probabilities_by_class(texts, labels, asked)
    for which in (0, 2):
        alone, _ = linear_probabilities(texts, labels[:, which], asked, num_classes=2)
        assert np.array_equal(found[:, which], alone[:, 1])
    assert found[:, [1, 3]].tolist() == [[0.0, 1.0]] * 3  # the same for all texts


def test_one_class_is_refused():
    """A transfer set with one pseudo-label is a broken teacher, not a floor of 100 %."""
    with pytest.raises(ValueError, match="two classes"):
        linear_probabilities(TEXTS, np.zeros(6, int), TEXTS, num_classes=2)


def test_majority_breaks_ties_by_index():
    """The floor must not depend on the order of the rows."""
    assert majority_class(np.array([2, 1, 1, 2, 0])) == 1
    with pytest.raises(ValueError, match="no labels"):
        majority_class(np.array([], dtype=int))
