"""Validation and test rows by content hash."""

import numpy as np

from tasks.corpus.selection.splitting import STAYS, TEST, VALIDATION, SplittingConfig, cut


def _hashes(count):
    return np.random.default_rng(0).integers(0, 2**63, count).astype(np.uint64)


def test_appended_data_moves_no_row():
    """New data moved last month's test rows into training, and the score rose by four points."""
    hashes = _hashes(5000)
    assert np.array_equal(
        cut(hashes, SplittingConfig())[:1000], cut(hashes[:1000], SplittingConfig())
    )


def test_copies_land_together():
    """One copy of a text was trained on, the other tested."""
    hashes = _hashes(500)
    twice = cut(np.concatenate([hashes, hashes]), SplittingConfig())
    assert np.array_equal(twice[:500], twice[500:])


def test_shares_are_as_asked_for_and_the_seed_matters():
    """A share of 10 % gave 50 %: the hash was not mixed."""
    config = SplittingConfig(validation_share=0.2, test_share=0.05)
    places = cut(np.arange(20_000, dtype=np.uint64), config)  # consecutive numbers: a hard case
    # Three standard deviations of a binomial count.
    for place, share in ((VALIDATION, 0.2), (TEST, 0.05), (STAYS, 0.75)):
        deviation = 3 * np.sqrt(20_000 * share * (1 - share))
        assert abs((places == place).sum() - 20_000 * share) < deviation
    other = cut(np.arange(20_000, dtype=np.uint64), config.model_copy(update={"seed": 1}))
    assert not np.array_equal(places, other)


def test_a_larger_validation_share_keeps_the_test_rows():
    """Changing the validation share changed the test set, and two reports could not be compared."""
    hashes = _hashes(2000)
    small = cut(hashes, SplittingConfig(validation_share=0.1))
    large = cut(hashes, SplittingConfig(validation_share=0.3))
    assert np.array_equal(small == TEST, large == TEST)
