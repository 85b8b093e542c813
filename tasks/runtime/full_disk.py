"""A full disk is told as such: where it was, and that the run goes on once there is room.

Writers in Python and in Arrow raise an OSError with the system's number; those in Rust
(safetensors, tokenizers) an error of their own, which has the number in its words.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_contracts.errors import MachineExhausted

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_SQLITE = "database or disk is full"  # studies and the registry; SQLAlchemy keeps the words


@contextmanager
def full_disk_told(what: str, folder: Path) -> Iterator[None]:
    """Any error that says that the disk is full becomes `MachineExhausted`.

    Args:
        what: was being written, for the message.
        folder: existing, on the disk that it was written to.
    """
    try:
        yield
    except Exception as error:
        if not says_no_room(error):
            raise
        free = shutil.disk_usage(folder).free / 1e6
        raise no_room(
            f"{what}: no room left on the disk of {folder} ({free:,.0f} MB free now)",
            rule="checkpoints and artifacts are written whole, beside those that are there",
            goes_on="the same command goes on from the last checkpoint",
        ) from error


def no_room(fact: str, *, rule: str, goes_on: str) -> MachineExhausted:
    """What is told of a full disk.

    Args:
        goes_on: what happens once there is room.
    """
    return MachineExhausted(
        fact,
        rule=rule,
        remedy="free space (decant gc tells what nothing uses), or set DECANT_HOME to a larger "
        f"disk; {goes_on}",
    )


def says_no_room(error: Exception) -> bool:
    """Whether an error is that of a full disk, or of a used-up quota."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    said = str(error)
    return _SQLITE in said or any(f"(os error {number})" in said for number in _NO_ROOM)
