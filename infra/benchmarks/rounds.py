"""Systems timed in turns: A B C, A B C, ... so that a neighbour's burst hits all of them alike.

What is reported is the median over the rounds with its quartiles, and the ratio of two systems
round by round: on a shared machine the ratio stands where the absolute figures drift.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass
from typing import TypeVar

System = TypeVar("System", bound=Hashable)
"""What a system is called."""


@dataclass(frozen=True)
class Timed:
    """Work that kept its own time, without what a comparison should not hold (imports, set-up)."""

    units: float
    seconds: float


@dataclass(frozen=True)
class Rate:
    """Units a second over the rounds."""

    median: float
    lower_quartile: float
    upper_quartile: float
    rounds: tuple[float, ...]

    def record(self) -> dict:
        """As JSON values."""
        return asdict(self)


def measure(
    systems: Mapping[System, Callable[[], float | Timed]],
    *,
    num_rounds: int,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[System, Rate]:
    """Rate of each system over `num_rounds` interleaved rounds, after one that is not counted.

    Args:
        systems: name -> work, which returns how many units (texts, rows) it did, or a `Timed`;
            the first is the one that others are compared with.
        say: told each round's figures.
    """
    rates: dict[System, list[float]] = {name: [] for name in systems}
    for number in range(num_rounds + 1):
        gc.collect()
        for name, work in systems.items():
            started = clock()
            done = work()
            seconds = clock() - started
            if isinstance(done, Timed):
                done, seconds = done.units, done.seconds
            if number:
                rates[name].append(done / max(seconds, 1e-9))
        if number:
            told = "  ".join(f"{name} {found[-1]:,.0f}" for name, found in rates.items())
            say(f"round {number} of {num_rounds}: {told}")
        else:
            say("warm-up round done")
    return {name: summary(found) for name, found in rates.items()}


def summary(values: list[float]) -> Rate:
    """Median and quartiles; with one value, that value."""
    if len(values) > 1:
        lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    else:
        lower = upper = values[0]
    return Rate(statistics.median(values), lower, upper, tuple(values))


def ratio(ours: Rate, theirs: Rate) -> Rate:
    """How many times faster ours is, round by round."""
    return summary([a / b for a, b in zip(ours.rounds, theirs.rounds, strict=True)])
