"""Scores by length: short texts are easy, and a mean hides how the long ones fare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from data_contracts.evaluation import Group
from tasks.metrics.statistics import Measure
from tasks.metrics.systems import Answers, group_scores

_MAX_PARTS = 4
_MIN_EXAMPLES = 25


def length_groups(
    lengths: Sequence[int],
    answers: Mapping[str, Answers],
    measures: Sequence[Measure],
    *,
    column: str,
) -> tuple[Group, ...]:
    """Scores of quarters of the test set, from the shortest to the longest.

    Args:
        lengths: of each of the student's N test examples; 0: it belongs to no part.
        answers: of all systems; those on other examples than the student's are left out.
        column: what is long, and in which unit.

    Returns: four parts, or fewer so that each has 25 examples; examples of equal length stay
        together, which makes parts unequal. None if there would be one.
    """
    counted = np.array(lengths)
    known = np.sort(counted[counted > 0])
    num_parts = min(_MAX_PARTS, len(known) // _MIN_EXAMPLES)
    if num_parts < 2:
        return ()
    # The longest length of each part.
    ends = np.unique([known[(part + 1) * len(known) // num_parts - 1] for part in range(num_parts)])
    if len(ends) < 2:
        return ()
    part_of = np.searchsorted(ends, counted)
    names = []
    for part in range(len(ends)):
        inside = known[np.searchsorted(ends, known) == part]
        names.append(str(inside[0]) if inside[0] == inside[-1] else f"{inside[0]} to {inside[-1]}")
    ids = answers["student"].example_ids
    same = {name: one for name, one in answers.items() if one.example_ids == ids}
    parts = [names[part] if length else None for part, length in zip(part_of, lengths, strict=True)]
    found = {group.value: group for group in group_scores(same, parts, measures, column=column)}
    return tuple(found[name] for name in names)
