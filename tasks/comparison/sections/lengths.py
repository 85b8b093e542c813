"""Scores by length: short texts are easy, and a mean hides how the long ones fare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from data_contracts.evaluation import Group
from tasks.metrics.statistics import Measure
from tasks.metrics.systems import Answers, group_scores, on_same_examples

_MAX_PARTS = 4
_MIN_EXAMPLES = 25


def length_groups(
    lengths: Sequence[int],
    answers: Mapping[str, Answers],
    measures: Sequence[Measure],
    *,
    column: str,
) -> tuple[Group, ...]:
    """Scores of up to four parts of the test set, from the shortest to the longest.

    Args:
        lengths: of each of the student's N test examples; 0: it belongs to no part.
        answers: of all systems; those on other examples than the student's are left out.
        column: what is long, and in which unit.

    Returns: parts as equal as they can be with at least 25 examples each and examples of equal
        length together. Empty if that leaves one.
    """
    counted = np.array(lengths)
    known = np.sort(counted[counted > 0])
    ends = _ends(known)
    if len(ends) < 2:
        return ()
    names = []
    for part in range(len(ends)):
        inside = known[np.searchsorted(ends, known) == part]
        names.append(str(inside[0]) if inside[0] == inside[-1] else f"{inside[0]} to {inside[-1]}")
    parts = [
        names[part] if length else None
        for part, length in zip(np.searchsorted(ends, counted), lengths, strict=True)
    ]
    groups = group_scores(on_same_examples(answers), parts, measures, column=column)
    found = {group.value: group for group in groups}
    return tuple(found[name] for name in names)


def _ends(known: np.ndarray) -> list[int]:
    """The longest length of each part, of sorted lengths."""
    num_parts = min(_MAX_PARTS, len(known) // _MIN_EXAMPLES)
    ends: list[int] = []
    begun = 0  # examples in the parts before
    for part in range(1, num_parts + 1):
        longest = int(known[part * len(known) // num_parts - 1])
        taken = int(np.searchsorted(known, longest, side="right"))
        if taken - begun >= _MIN_EXAMPLES:
            ends.append(longest)
            begun = taken
    if ends:  # what is left is too little for a part of its own
        ends[-1] = int(known[-1])
    return ends
