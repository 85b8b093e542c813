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

    def validated(self, number: int, figures: dict[str, float]) -> None:
        """The `number`-th validation of a training, from 1: its step and its figures.

        Raises: StopTraining if whoever listens has seen enough.
        """


class StopTraining(Exception):  # noqa: N818  # nothing went wrong
    """A listener ends a training that is not worth going on with: nothing of it is published."""


class SilentProgress:
    """Listens to nothing."""

    def start(self, description: str, *, total: int, unit: str) -> None:
        """Ignore it."""

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """Ignore it."""

    def say(self, message: str) -> None:
        """Ignore it."""

    def validated(self, number: int, figures: dict[str, float]) -> None:
        """Ignore it."""
