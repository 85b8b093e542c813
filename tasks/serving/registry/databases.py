"""MLflow: a local database, made whole or not at all.

MLflow makes its tables one by one, in place. Killed on the way, it leaves a database that it
refuses ever after ("table already exists"), and with it every registration.
"""

from __future__ import annotations

import os
import re
import uuid
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from tasks.runtime.files.locations import home
from tasks.runtime.locks import exclusive_lock

_SQLITE = "sqlite:///"


def database_lock() -> AbstractContextManager[None]:
    """Held around the first use of a database: two processes that make one at once break it."""
    return exclusive_lock(home() / "locks" / "mlflow.lock")


def make_database(uri: str) -> None:
    """Make the SQLite database of `uri`, all tables at once, unless it is there.

    Hold `database_lock` around it. What is no path, or cannot be written, is left to MLflow, which
    says why. What killed attempts left beside it is removed.
    """
    path = _path_of(uri)
    if path is None or not os.access(path.parent, os.W_OK):
        return
    _remove_abandoned(path)
    if _is_made(path):
        return
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with exclusive_lock(_lock_of(partial)):  # shows that somebody is at it
        try:
            engine = create_sqlalchemy_engine(f"{_SQLITE}{partial}")
            try:
                _initialize_tables(engine)
            finally:
                engine.dispose()
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            _publish(partial, path)
        finally:
            _remove(partial)


def is_unmade(uri: str) -> bool:
    """Whether `uri` is of a SQLite database that is not there, or empty: whoever reads need not
    make it. What lies below a file cannot be made, and whoever tries is told so."""
    path = _path_of(uri)
    return path is not None and not path.parent.is_file() and not _is_made(path)


def _path_of(uri: str) -> Path | None:
    path = Path(uri.removeprefix(_SQLITE))
    if not uri.startswith(_SQLITE) or "?" in uri or not path.name or path.name == ":memory:":
        return None
    return path


def _remove_abandoned(path: Path) -> None:
    """Remove what was to become `path` and has lost its maker: nobody holds it locked."""
    named = re.compile(rf"(\.{re.escape(path.name)}\.[0-9a-f]{{32}})(-journal|-lock)?")
    found = (named.fullmatch(one.name) for one in path.parent.glob(f".{path.name}.*"))
    for partial in {path.with_name(match[1]) for match in found if match}:
        with suppress(OSError), exclusive_lock(_lock_of(partial), wait=False):  # or another user's
            _remove(partial)


def _lock_of(partial: Path) -> Path:
    """A file of its own: NFS makes of flock a lock of the bytes, which SQLite would wait for."""
    return partial.with_name(f"{partial.name}-lock")


def _remove(partial: Path) -> None:
    for left in (partial, partial.with_name(f"{partial.name}-journal"), _lock_of(partial)):
        left.unlink(missing_ok=True)


def _publish(partial: Path, path: Path) -> None:
    """Give `partial` its name, but not over what another made there: the lock is of one home, and
    MLFLOW_TRACKING_URI may name the same file in two, or for a server of MLflow's own."""
    try:
        path.hardlink_to(partial)
    except OSError:  # something is there, or this file system has no links
        if not _is_made(path):
            partial.replace(path)


def _is_made(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
