"""Scores by domain: a mean over reviews of books and hotels hides that one of them fails.

The teacher's own test rows are parted too, in a table of their own language: whether it knows a
domain at all is read before a student is blamed for it. Domains are matched by name only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from data_contracts.evaluation import TEACHER, Group
from tasks.comparison.material import Material
from tasks.metrics.statistics import Measure
from tasks.metrics.systems import Answers, group_scores, on_same_examples

DOMAIN = "domain"


def domain_groups(
    material: Material, answers: Mapping[str, Answers], measures: Sequence[Measure]
) -> tuple[Group, ...]:
    """Scores by the `domain` of test rows, of all systems that answered the same rows.

    Returns: one group a domain of the student's test rows (column `domain`), then one a domain of
        the teacher's, where those are others (column `domain (en)`); none of a set whose rows name
        fewer than two.
    """
    if not material.corpus_has(DOMAIN):
        return ()
    same = on_same_examples(answers)
    groups = _by_domain(material, same, measures, column=DOMAIN)
    teacher = answers.get(TEACHER)
    if teacher is None or TEACHER in same:
        return groups
    column = f"{DOMAIN} ({material.source_language})"
    return (*groups, *_by_domain(material, {TEACHER: teacher}, measures, column=column))


def _by_domain(
    material: Material,
    same: Mapping[str, Answers],
    measures: Sequence[Measure],
    *,
    column: str,
) -> tuple[Group, ...]:
    ids = next(iter(same.values())).example_ids
    rows = material.corpus_rows(["test"], pa.chunked_array([ids], pa.string()), [DOMAIN])
    groups = group_scores(same, rows[DOMAIN].to_pylist(), measures, column=column)
    return groups if len(groups) > 1 else ()
