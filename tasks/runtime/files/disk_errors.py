"""A full or failing disk is told as such: where it was, and when the run goes on.

Writers in Python and in Arrow raise an OSError with the system's number; those in Rust
(safetensors, tokenizers) an error of their own, which has the number in its words. So has that of
`shutil.copytree`, which gathers what each file said.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_contracts.errors import MachineExhausted

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_FAILING = (errno.EROFS, errno.EIO, errno.EFBIG)
# Studies and the registry are SQLite's; SQLAlchemy keeps its words.
_SQLITE_NO_ROOM = ("database or disk is full",)
_SQLITE_FAILING = ("attempt to write a readonly database", "disk I/O error")


@contextmanager
def disk_errors_told(what: str, folder: Path) -> Iterator[None]:
    """Any error that says that the disk is full, read-only or broken becomes `MachineExhausted`.

    Args:
        what: was being written, for the message.
        folder: existing, on the disk that it was written to.
    """
    try:
        yield
    except Exception as error:
        if says_failing(error):
            raise failing(
                f"{what}: the disk of {folder}, or of what is read, fails: {_first_said(error)}",
                goes_on="the same command goes on from the last checkpoint",
            ) from error
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


def failing(fact: str, *, goes_on: str) -> MachineExhausted:
    """What is told of a disk that is read-only, has errors or takes no larger file.

    Args:
        goes_on: what happens once it is mended.
    """
    return MachineExhausted(
        fact,
        rule="what is below DECANT_HOME is written to a disk that takes it, files of any size",
        remedy="look at the disk (mount, dmesg) and at ulimit -f, or set DECANT_HOME to a folder "
        f"on another; {goes_on}",
    )


def says_no_room(error: Exception) -> bool:
    """Whether an error is that of a full disk, or of a used-up quota."""
    return _is_one_of(error, _NO_ROOM, _SQLITE_NO_ROOM)


def says_failing(error: Exception) -> bool:
    """Whether an error is that of a disk that is read-only or broken, or of too large a file."""
    return _is_one_of(error, _FAILING, _SQLITE_FAILING)


def _first_said(error: Exception) -> str:
    """One line: SQLAlchemy's words go on with the statement, those of `shutil` with each file."""
    said = error.args[0][0][-1] if isinstance(error, shutil.Error) else str(error)
    return said.partition("\n")[0]


def _is_one_of(error: Exception, numbers: tuple[int, ...], words: tuple[str, ...]) -> bool:
    said = str(error)
    if isinstance(error, shutil.Error):
        return any(f"[Errno {one}]" in said for one in numbers)
    if isinstance(error, OSError):
        return error.errno in numbers
    return any(text in said for text in (*words, *(f"(os error {one})" for one in numbers)))
