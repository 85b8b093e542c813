"""Telling a running process from a killed one: a file that is locked while its owner lives.

A process identifier in a file goes stale and is reused; a lock is dropped by the kernel at death.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.runtime.locks import exclusive_lock


@contextmanager
def alive(path: Path) -> Iterator[None]:
    """Hold `path` locked until the block ends; then remove it.

    Removing is safe only because each owner uses a name of its own: nobody waits for this lock.
    """
    with exclusive_lock(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def is_alive(path: Path) -> bool:
    """Whether some process holds `path` locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
