"""Timing rules on a clock that only the models under test move."""

import numpy as np
import pytest

from tasks.metrics.latency import cpu_threads, measure_latency, measure_throughput


class Clock:
    """Seconds that pass only when someone works."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self):
        return self.now

    def system(self, name, seconds_a_text):
        def answer(texts):
            self.now += seconds_a_text * len(texts)
            self.log.append((name, len(texts)))
            return np.zeros((len(texts), 2))

        return answer


def test_percentiles_are_of_single_texts_in_milliseconds():
    """Seconds reported as milliseconds make a thousandfold faster student."""
    clock = Clock()

    def answer(texts):
        assert len(texts) == 1
        clock.now += len(texts[0]) / 1000
        return np.zeros((1, 2))

    texts = ["x" * n for n in range(1, 102)]
    found = measure_latency(answer, texts, max_seconds=100, clock=clock)
    assert (found.p50_ms, found.p95_ms, found.num_texts) == pytest.approx((51, 96, 101))


def test_a_slow_model_stops_at_its_budget():
    """A 2-second-a-text teacher must not hold the quickstart for minutes."""
    clock = Clock()
    found = measure_latency(
        clock.system("slow", 2.0), ["a", "b", "c", "d"] * 50, max_seconds=5, clock=clock
    )
    assert found.num_texts == 3
    assert found.p50_ms == pytest.approx(2000)


def test_rounds_take_systems_in_turns_and_respect_the_budget():
    """Timing one system after the other lets a neighbour's burst fake a speed-up."""
    clock = Clock()
    systems = {
        "teacher": (clock.system("teacher", 0.1), ["t"] * 10),
        "student": (clock.system("student", 0.01), ["s"] * 10),
    }
    found = measure_throughput(systems, batch_size=4, max_rounds=9, max_seconds=3, clock=clock)
    assert found["teacher"] == pytest.approx([10.0] * 3)
    assert found["student"] == pytest.approx([100.0] * 3)
    turns = [name for name, size in clock.log[2:] if size == 2]
    assert turns == ["teacher", "student"] * 3
    assert {size for _, size in clock.log} == {4, 2}


def test_no_texts_are_refused():
    """A percentile of nothing is NaN and passes every gate."""
    with pytest.raises(ValueError, match="no texts"):
        measure_latency(lambda texts: np.zeros((1, 2)), [], max_seconds=1)


def test_thread_count_is_put_back():
    """A leaked thread count slows every later stage of the same process."""
    import torch

    before = torch.get_num_threads()

    def fail_inside():
        with cpu_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert torch.get_num_threads() == before
