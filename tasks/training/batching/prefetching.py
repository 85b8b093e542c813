"""Steps laid out by a thread of their own, a few ahead of the device.

The order of steps stays that of the iterator, so nothing about a run depends on timing. NumPy lets
go of the interpreter while it copies, and a step takes the host a small part of the time that it
takes the device; how long the device's side waited is counted, to prove it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_POLL_SECONDS = 0.2  # how soon the thread sees that nobody wants its items any more


class Prefetcher(Generic[Item]):
    """Iterates over `items` in order, computing up to `depth` of them ahead.

    Args:
        items: consumed in the thread alone.
        prepare: applied to each item in the thread, such as moving it to pinned memory.
        depth: items ready at most; each costs its memory.
    """

    def __init__(
        self,
        items: Iterator[Item],
        *,
        prepare: Callable[[Item], Item] | None = None,
        depth: int = 2,
    ) -> None:
        """Start nothing yet: the thread runs inside `with`."""
        self.wait_seconds = 0.0
        self._items, self._prepare = items, prepare
        self._ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)

    def __enter__(self) -> Prefetcher[Item]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._unwanted.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        while True:
            started = time.monotonic()
            item, error = self._ready.get()
            self.wait_seconds += time.monotonic() - started
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._hand_over((self._prepare(item) if self._prepare else item, None)):
                    return
            self._hand_over((None, None))
        except BaseException as error:  # told to whoever waits for the next item
            self._hand_over((None, error))

    def _hand_over(self, entry: tuple[Item | None, BaseException | None]) -> bool:
        while not self._unwanted.is_set():
            try:
                self._ready.put(entry, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
