"""When each of Decant's validations was over, told by its loop, as callbacks tell the peers'."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from tasks.runtime.progress import SilentProgress


class ValidationClock(SilentProgress):
    """A listener of a training that notes the moment of each validation.

    Told from a child process, a moment is that at which the parent hears of it: below a millisecond
    later.

    Args:
        clock: gives seconds; starts counting when the listener is made.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Start counting."""
        self._clock, self._started = clock, clock()
        self._moments: list[tuple[float, int]] = []  # seconds, step

    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._started

    def validated(self, number: int, figures: dict[str, float]) -> None:
        """Note the moment and the step."""
        self._moments.append((self.seconds(), int(figures["step"])))

    def points(
        self, validations: Sequence[Mapping[str, float]], *, later: float = 0.0
    ) -> tuple[tuple[float, int, float], ...]:
        """(seconds since the start, step, accuracy) of each validation of a history.

        Args:
            validations: what `history.json` holds of them.
            later: seconds to add: of work that was done before the start.
        Raises: SystemExit if not exactly these validations were heard of.
        """
        heard = [step for _, step in self._moments]
        told = [int(entry["step"]) for entry in validations]
        if heard != told:
            raise SystemExit(f"validations after steps {told}, but heard of those after {heard}")
        return tuple(
            (later + seconds, step, float(entry["accuracy"]))
            for (seconds, step), entry in zip(self._moments, validations, strict=True)
        )
