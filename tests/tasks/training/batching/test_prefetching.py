"""Prefetching: the order of the iterator, its errors, and no thread left behind."""

import threading
import time

import pytest

from tasks.training.batching.prefetching import Prefetcher


def alive():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_items_come_in_order_and_prepared():
    """Steps that overtake each other make a resumed run another run."""
    with Prefetcher(iter(range(50)), prepare=lambda item: item * 2, depth=3) as items:
        assert list(items) == [item * 2 for item in range(50)]
    assert not alive()


def test_an_error_in_the_thread_reaches_the_loop():
    """A thread that dies silently leaves the loop waiting for ever."""

    def broken():
        yield 1
        raise ValueError("row 7 is torn")

    with pytest.raises(ValueError, match="row 7"), Prefetcher(broken()) as items:
        assert list(items) == []
    assert not alive()


def test_leaving_early_ends_the_thread_and_bounds_what_it_made():
    """A loop that stops early, preempted or done, must not keep a thread packing to the end."""
    made = []

    def endless():
        while True:
            made.append(1)
            yield len(made)

    with Prefetcher(endless(), depth=2) as items:
        assert next(iter(items)) == 1
        deadline = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert not alive()
    assert len(made) <= 5
