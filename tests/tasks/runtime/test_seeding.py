"""Random streams are independent by name and the same everywhere."""

import hashlib

import numpy as np

from tasks.runtime.seeding import derive_seed, generator


def test_a_stream_is_a_function_of_seed_and_name():
    """A resumed run that shuffles otherwise than the run it continues."""
    expected = int.from_bytes(hashlib.sha256(b"3\x1forder\x1f7").digest()[:8], "little") >> 1
    assert derive_seed(3, "order", 7) == expected
    first, again = generator(3, "order", 7), generator(3, "order", 7)
    assert first.integers(0, 1 << 62, 50).tolist() == again.integers(0, 1 << 62, 50).tolist()


def test_seeds_fit_every_library():
    """torch and NumPy refuse negative or 64-bit seeds, one run in two."""
    for number in range(200):
        assert 0 <= derive_seed(number, "any") < 1 << 63


def test_streams_do_not_meet():
    """Dropout that follows the order of rows because two names gave one stream."""
    names = [("a",), ("b",), ("a", 1), ("a", 11), ("a", 1, 1), ("a1",), ("a", "1", "1", "")]
    seeds = {derive_seed(0, *name) for name in names} | {derive_seed(1, "a")}
    assert len(seeds) == len(names) + 1
    one, other = generator(0, "weights").random(4000), generator(0, "order").random(4000)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.06  # 4 standard errors at 4,000 draws
