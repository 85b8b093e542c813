"""The file that answers are written to: what it may replace, and when it appears.

An hour's work takes the place of what lies at a path in one rename, or not at all. What is no file
(a folder, a device) is not replaced, and a link stays one: its target is.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from data_contracts.errors import UserError

_OTHER_FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".xlsx")


def refuse_no_file(output: Path) -> None:
    """Raise UserError unless `output` is a Parquet file by its name, or nothing yet."""
    if output.is_dir():
        raise UserError(
            f"{output} is a folder",
            rule="the output is one Parquet file, unless the work is cut into shards",
            remedy=f"name a file, such as {output / 'answers.parquet'}, or give --shards-on",
        )
    if output.exists() and not output.is_file():
        raise UserError(
            f"{output} is a device, a pipe or a socket, and no file",
            rule="the output replaces what lies at its path, once it is complete",
            remedy="name a file, such as answers.parquet",
        )
    if output.suffix.lower() in _OTHER_FORMATS:
        raise UserError(
            f"{output} is named as {output.suffix[1:].upper()}, and answers are written as Parquet",
            rule="the output is a Parquet file",
            remedy=f"name it {output.with_suffix('.parquet').name}",
        )


@contextmanager
def complete_or_absent(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose bytes appear at `path` in one rename, once the block ends well.

    The partial file has one name, so a killed run leaves at most one, which the next run takes
    over; the lock on it keeps a second run of now away.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}",
            rule="the output is a file in a folder that this user may write to",
            remedy="name another file",
        ) from error
    with os.fdopen(descriptor, "wb") as stream:
        if not _is_ours(descriptor, partial):
            raise UserError(
                f"another run is writing {path}",
                rule="one run writes an output at a time",
                remedy="wait for it, or name another file",
            )
        os.ftruncate(descriptor, 0)
        try:
            yield stream
            stream.flush()
            os.fsync(descriptor)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _is_ours(descriptor: int, partial: Path) -> bool:
    """Lock the partial file; False if another run holds it, or has just given it its final name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), partial.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
