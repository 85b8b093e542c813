import itertools

import pytest

from infra.benchmarks.rounds import Timed, measure, ratio, summary


def test_systems_take_turns_and_the_first_round_does_not_count():
    """A neighbour's burst during one system's block of rounds is reported as a speed-up."""
    called = []
    ticks = itertools.count()

    def system(name):
        def work():
            called.append(name)
            return 10.0

        return work

    rates = measure(
        {"a": system("a"), "b": system("b")},
        num_rounds=3,
        say=lambda _: None,
        clock=lambda: next(ticks),
    )
    assert called == ["a", "b"] * 4
    assert rates["a"].rounds == rates["b"].rounds == (10.0, 10.0, 10.0)


def test_work_that_kept_its_own_time_is_believed():
    """Set-up that a comparison leaves out on purpose, counted all the same."""
    rates = measure({"a": lambda: Timed(30, 2.0)}, num_rounds=1, say=lambda _: None)
    assert rates["a"].median == 15.0


def test_medians_quartiles_and_ratios_by_round():
    """A ratio of medians of two systems that met different weather."""
    found = summary([4.0, 1.0, 2.0, 3.0, 5.0])
    assert (found.lower_quartile, found.median, found.upper_quartile) == (2.0, 3.0, 4.0)
    assert summary([7.0]).upper_quartile == 7.0
    slow_then_fast = ratio(summary([10.0, 100.0, 1000.0]), summary([5.0, 50.0, 500.0]))
    assert slow_then_fast.rounds == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="shorter"):
        ratio(summary([1.0, 2.0]), summary([1.0]))
