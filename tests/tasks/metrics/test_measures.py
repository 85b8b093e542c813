"""Primary metrics are found by name, as a later run reads them."""

import pytest

from tasks.comparison.material import Material
from tasks.comparison.problem import Settings
from tasks.comparison.problems import COMPARED
from tasks.comparison.problems.sentence_embedding import ACCURACY_AT_1
from tasks.metrics.measures import primary_measure


@pytest.mark.parametrize("problem", COMPARED)
def test_every_problems_primary_metric_is_known(problem):
    """A champion whose metric nobody knows could be replaced by anything."""
    if problem == "sentence_embedding":  # its list depends on whether test rows have scores
        measure = ACCURACY_AT_1
    else:
        measure = COMPARED[problem](Material({}, "en", "zh"), Settings()).measures[0]
    found = primary_measure(measure.name, target_language="zh")
    assert found.metric == measure.metric
