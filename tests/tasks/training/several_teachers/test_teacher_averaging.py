"""Several teachers' opinions averaged, at the edge: the rest is tested with the stage."""

import numpy as np
import pytest

from tasks.training.several_teachers.teacher_averaging import Opinions, averaged


@pytest.mark.parametrize("distribution", ["classes", "binary", "units"])
def test_no_answers_are_averaged_to_none(distribution):
    """A part of texts that nobody reads ends the run, or makes every share NaN."""
    nothing = Opinions(
        np.zeros((2, 0, 3), np.float32), np.zeros((2, 0), bool), np.zeros(0, np.int64)
    )
    logits, shares = averaged(nothing, np.ones(2), distribution=distribution)
    assert (logits.shape, shares.tolist()) == ((0, 3), [0.0, 0.0])
