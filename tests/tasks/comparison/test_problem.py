"""Settings that all compared problems share."""

import numpy as np

from tasks.comparison.problem import Settings


def test_floors_learn_from_all_sources_alike():
    """The first 50,000 rows are one source's: a floor of another language, or of one domain."""
    settings = Settings(linear_max_texts=300)
    drawn = settings.floor_rows(1000, "linear floor")
    assert len(np.unique(drawn)) == 300
    assert (np.diff(drawn) > 0).all()
    # 300 of 1000 without replacement: 150 ± 7.2 of each half (hypergeometric); five deviations
    assert 114 < (drawn < 500).sum() < 186
    assert np.array_equal(drawn, settings.floor_rows(1000, "linear floor"))
    assert not np.array_equal(drawn, settings.floor_rows(1000, "reply floors"))


def test_few_rows_are_all_learned_from():
    """A floor that learns less than the student, for nothing."""
    assert Settings(linear_max_texts=5).floor_rows(5, "linear floor").tolist() == [0, 1, 2, 3, 4]
