"""How alike two texts look, as a classifier."""

import numpy as np
import pytest

from tasks.metrics.baselines.pairs import character_vectors, cosine_probabilities

ALIKE = [(f"打开{room}的灯", f"把{room}的灯打开") for room in ("客厅", "卧室", "厨房", "书房")]
UNLIKE = [(first, "今天天气很好") for first, _ in ALIKE]


@pytest.mark.parametrize("same", [0, 1])
def test_the_threshold_and_its_direction_are_learned(same):
    """Class 1 is not always the pair that matches: the label set is sorted by name."""
    labels = np.array([same] * 4 + [1 - same] * 4)
    pairs = [("打开车库的灯", "把车库的灯打开"), ("打开车库的灯", "今天天气很好")]
    found = cosine_probabilities(ALIKE + UNLIKE, labels, pairs, num_classes=3)
    assert found.argmax(axis=1).tolist() == [same, 1 - same]
    assert found.sum(axis=1) == pytest.approx([1, 1])
    assert found[:, 2].tolist() == [0, 0]


def test_one_class_is_no_threshold():
    """A floor that always says the same is the majority class."""
    with pytest.raises(ValueError, match="two classes"):
        cosine_probabilities(ALIKE, np.zeros(4, int), ALIKE, num_classes=2)


def test_character_vectors_know_what_is_shared_in_writing():
    """A floor that finds nothing makes any student look good."""
    found = character_vectors(["Apollo 11 landed", "阿波罗 Apollo 11 登月", "今天天气很好"])
    assert found.shape == (3, 2048)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 1])
    assert found[0] @ found[1] > 0.3 > 0.1 > found[0] @ found[2]
