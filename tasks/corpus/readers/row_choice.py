"""Which rows of its files a source takes: those that `where` names, and of them `max_rows`.

    all rows -> where: a column has one of some values -> max_rows: drawn, each as likely as another

A row that is not taken is none of the source's: nothing is wrong with it, so it is neither judged
nor set aside, but counted as not taken. One line of a text format that cannot be parted into cells
belongs to nobody, and is set aside by each source that reads the file.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from typing import Any

_CELL = "where "


@dataclass(frozen=True)
class RowFilter:
    """The `where` of a source.

    Args:
        values: column -> the values of which a row must have one, as texts.
    """

    values: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, str]:
        """Cells that the filter reads -> column of the file."""
        return {_CELL + column: column for column in self.values}

    def admits(self, cells: Mapping[str, Any]) -> bool:
        """Whether a row with these cells is one of the source's."""
        return all(
            as_text(cells.get(_CELL + column)) in wanted for column, wanted in self.values.items()
        )

    def without_own(self, cells: Mapping[str, Any]) -> Mapping[str, Any]:
        """The cells that are wanted for something else."""
        if not self.values:
            return cells
        return {key: cell for key, cell in cells.items() if not key.startswith(_CELL)}


EVERY_ROW = RowFilter()


def is_filtered_by(key: str) -> bool:
    """Whether a cell is read for a filter."""
    return key.startswith(_CELL)


def as_text(cell: object) -> str | None:
    """What a cell is compared as: numbers by their digits, yes and no as JSON writes them."""
    if isinstance(cell, bool):
        return str(cell).lower()
    return str(cell) if isinstance(cell, str | int) else None


@dataclass
class Draw:
    """`max_rows` of a known number of rows, told one after the other whether they are drawn.

    Each choice is as likely as another, the memory does not grow, and what is drawn depends on the
    seed and the number of rows alone. Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S.

    Args:
        num_left: rows that are still to come; at first all there are.
        num_wanted: how many of them are to be drawn; all, if they are fewer.
        seed: what decides which.
    """

    num_left: int
    num_wanted: int
    seed: InitVar[int]

    def __post_init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def takes_next(self) -> bool:
        """Whether the next row is drawn."""
        is_drawn = self._random.random() * self.num_left < self.num_wanted
        self.num_left -= 1
        self.num_wanted -= is_drawn
        return is_drawn
