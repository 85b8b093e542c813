"""Files behind a URI are listed once while a stage runs: what is digested and read is one set.

A file that arrives meanwhile is for the next run: it is neither read nor a change of what was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_KEPT: ContextVar[dict[str, Any] | None] = ContextVar("listings", default=None)


@contextmanager
def listings_kept() -> Iterator[None]:
    """List each URI once within the block; a block within another takes part in it."""
    if _KEPT.get() is not None:
        yield
        return
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def listed(uri: str, listing: Callable[[], T]) -> T:
    """What `listing` gives; within `listings_kept`, what it gave first for this `uri`."""
    kept = _KEPT.get()
    if kept is None:
        return listing()
    uri = uri.rstrip("/")  # a folder's name may end in a slash
    if uri not in kept:
        kept[uri] = listing()
    return kept[uri]
