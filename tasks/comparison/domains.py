"""Scores by domain: a mean over reviews of books and hotels hides that one of them fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from data_contracts.evaluation import Group
from tasks.comparison.material import Material
from tasks.metrics.statistics import Measure
from tasks.metrics.systems import Answers, group_scores

DOMAIN = "domain"


def domain_groups(
    material: Material, answers: Mapping[str, Answers], measures: Sequence[Measure]
) -> tuple[Group, ...]:
    """Scores of all systems that answered the student's test rows, by their `domain`.

    Returns: one group a domain; none if the rows name fewer than two.
    """
    if not material.corpus_has(DOMAIN):
        return ()
    ids = answers["student"].example_ids
    same = {name: one for name, one in answers.items() if one.example_ids == ids}
    rows = material.corpus_rows(["test"], pa.chunked_array([ids], pa.string()), [DOMAIN])
    groups = group_scores(same, rows[DOMAIN].to_pylist(), measures, column=DOMAIN)
    return groups if len(groups) > 1 else ()
