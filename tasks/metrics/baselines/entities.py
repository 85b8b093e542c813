"""A floor for named entities: the names of the training spans, looked up in the test texts.

A tagger that does not beat a list of names has learnt that list. Names are compared unit by unit as
they are written; of overlapping ones the leftmost wins, of those the longest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tasks.metrics.scores.entities import Span

Unit = tuple[int, int]


class Gazetteer:
    """Names and the type each has had most often (the first in the alphabet if equally often)."""

    def __init__(self, named: Iterable[tuple[str, Sequence[Unit], Sequence[Span]]]) -> None:
        """Learn names.

        Args:
            named: texts, their units, and their spans.
        """
        types: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for text, units, spans in named:
            for span in spans:
                words = [text[a:b] for a, b in units if a >= span.start and b <= span.end]
                if words:
                    types[tuple(words)][span.label] += 1
        self._types = {
            name: min(counts, key=lambda label: (-counts[label], label))
            for name, counts in types.items()
        }
        self._longest: dict[str, int] = {}
        for name in self._types:
            self._longest[name[0]] = max(self._longest.get(name[0], 0), len(name))

    def __len__(self) -> int:
        """Number of names."""
        return len(self._types)

    def find(self, text: str, units: Sequence[Unit]) -> list[Span]:
        """Spans of the text that are names."""
        words = [text[start:end] for start, end in units]
        found: list[Span] = []
        place = 0
        while place < len(words):
            for length in range(self._longest.get(words[place], 0), 0, -1):
                label = self._types.get(tuple(words[place : place + length]))
                if label and place + length <= len(words):
                    end = units[place + length - 1][1]
                    found.append(Span(units[place][0], end, label))
                    place += length
                    break
            else:
                place += 1
        return found
