"""Several teachers' predictions averaged, at the edge: the rest is tested with the stage."""

import numpy as np
import pytest

from tasks.training.multi_teacher.averaging import SoftLabels, averaged


@pytest.mark.parametrize("distribution", ["classes", "binary", "units"])
def test_no_answers_are_averaged_to_none(distribution):
    """A part of texts that nobody reads ends the run, or makes every share NaN."""
    nothing = SoftLabels(
        np.zeros((2, 0, 3), np.float32), np.zeros((2, 0), bool), np.zeros(0, np.int64)
    )
    logits, shares = averaged(nothing, np.ones(2), distribution=distribution)
    assert (logits.shape, shares.tolist()) == ((0, 3), [0.0, 0.0])


@pytest.mark.parametrize("by_confidence", [False, True])
def test_units_of_a_context_are_averaged_over_the_context(by_confidence):
    """A softmax over the units of all contexts together, or a teacher counted where it has read
    nothing: the shares that a run reports are then of another mean."""
    logits = np.random.default_rng(0).normal(size=(2, 5, 2), scale=2.0).astype(np.float32)
    read = np.array([[True] * 5, [True, True, True, False, False]])
    soft_labels = SoftLabels(logits, read, np.array([3, 2]))
    found, shares = averaged(
        soft_labels, np.array([1.0, 3.0]), distribution="units", by_confidence=by_confidence
    )
    counted = []
    for start, stop in ((0, 3), (3, 5)):
        for column in (0, 1):
            said = np.exp(logits[:, start:stop, column].astype(np.float64))
            said /= said.sum(axis=1, keepdims=True)
            weights = np.array([1.0, 3.0]) * read[:, start]
            if by_confidence:
                weights *= np.exp((said * np.log(said)).sum(axis=1))
            weights /= weights.sum()
            counted.append(weights)
            np.testing.assert_allclose(np.exp(found[start:stop, column]), weights @ said, rtol=1e-5)
    np.testing.assert_allclose(shares, np.mean(counted, axis=0), rtol=1e-6)
