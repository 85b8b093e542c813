"""One writer a key, through `fcntl.flock`: the kernel drops the lock when its holder dies.

Lock files are never deleted while in use, because deleting one lets two holders each lock a
different inode of the same name. An expiring lock record in a file was measured to hang for ever
after `kill -9`; this one cannot.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_SECONDS = 0.1


@contextmanager
def exclusive_lock(
    path: Path, *, wait: bool = True, on_wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the exclusive lock `path`, waiting for whoever has it.

    Args:
        path: the lock file; made if missing, together with its folders.
        wait: whether to wait if another process holds the lock.
        on_wait: called once before waiting.

    Raises: BlockingIOError if another process holds the lock and `wait` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            if on_wait is not None:
                on_wait()
            # Polling, not a blocking flock: Ctrl-C and Prefect's cancellation stay responsive.
            while True:
                time.sleep(_POLL_SECONDS)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    continue
        yield
    finally:
        # Unlocking says it to the kernel; closing alone would leave the lock with any child that
        # was forked meanwhile and inherited the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
