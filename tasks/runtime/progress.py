"""What a stage tells about its progress, without knowing who listens (console, Prefect, a test)."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives progress from a stage. Calls are cheap: listeners throttle, stages do not."""

    def start(self, description: str, *, total: int, unit: str) -> None:
        """A countable piece of work begins: `total` units (rows, steps) lie ahead."""

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """`amount` more units are done; `note` is a short figure such as `loss 0.31`."""

    def say(self, message: str) -> None:
        """One line worth reading by a person."""


class SilentProgress:
    """Listens to nothing."""

    def start(self, description: str, *, total: int, unit: str) -> None:
        """Ignore it."""

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """Ignore it."""

    def say(self, message: str) -> None:
        """Ignore it."""
