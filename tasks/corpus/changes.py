"""What was changed in rows while each was judged on its own: nothing is mended in silence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Changes:
    """Counts over the rows of a batch or of a file.

    Args:
        removed: characters that normalising took out of texts, by kind.
        repaired: what the kind of row mends in rows that pass, by its `repairs`.
        mapped: keys of `label_map` that labels had.
    """

    removed: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    mapped: Counter[str] = field(default_factory=Counter)

    def add(self, others: Changes) -> None:
        """Count those of `others` here as well."""
        self.removed.update(others.removed)
        self.repaired.update(others.repaired)
        self.mapped.update(others.mapped)
