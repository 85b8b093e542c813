"""One large thing kept in memory between calls, and given up once nobody asks for it any more.

    part 1 ──► load ──► use     part 2 ──► use      ...  nobody for a minute ──► given up

The process of a pool is not told that its last shard was the last, and lives as long as the run:
a teacher that it kept would hold its memory while students are trained. Where the end is known,
`drop` gives it up at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Thing = TypeVar("Thing")

_IDLE_SECONDS = 60.0


class Kept(Generic[Thing]):
    """What `load` gave last: one at a time, and none that was idle for long."""

    def __init__(self, load: Callable[..., Thing], *, idle_seconds: float = _IDLE_SECONDS) -> None:
        """Load nothing yet.

        Args:
            load: makes the thing from its key.
            idle_seconds: after which a thing that nobody uses is given up.
        """
        self._load = load
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._held: tuple[tuple[Hashable, ...], Thing] | None = None
        self._num_users = 0
        self._clock: threading.Timer | None = None

    @contextmanager
    def using(self, *key: Hashable) -> Iterator[Thing]:
        """The thing of `key` for the block: the one that is kept, or loaded in its place."""
        with self._lock:
            self._stop_clock()
            if self._held is None or self._held[0] != key:
                self._held = None  # before the next is loaded: never two kept at once
                self._held = (key, self._load(*key))
            thing = self._held[1]
            self._num_users += 1
        try:
            yield thing
        finally:
            del thing
            with self._lock:
                self._num_users -= 1
                if not self._num_users and self._held is not None:
                    self._start_clock()

    def drop(self) -> None:
        """Give up what is kept; whoever is using it keeps it to the end of the block."""
        with self._lock:
            self._stop_clock()
            self._held = None

    def _start_clock(self) -> None:
        # A daemon: no process lives on for it.
        self._clock = clock = threading.Timer(self._idle_seconds, lambda: self._is_idle(clock))
        clock.daemon = True
        clock.start()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _is_idle(self, clock: threading.Timer) -> None:
        with self._lock:
            if self._clock is clock:  # else it ran out while somebody asked again
                self._clock = None
                self._held = None
