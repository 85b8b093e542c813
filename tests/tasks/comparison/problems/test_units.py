"""What problems about units share."""

import pyarrow as pa

from tasks.comparison.material import Material
from tasks.comparison.problem import Settings
from tasks.comparison.problems.question_answering import QuestionAnswering


def test_agreement_is_measured_on_rows_of_all_sources():
    """The first 2,000 validation rows are one source's: an agreement on news alone, told as that
    of all, where a student of news and speech lost its teacher in speech."""
    compared = QuestionAnswering(Material({}, "en", "zh"), Settings())
    # Two windows an example, the way long contexts are read.
    ids = [f"{number // 2:04d}" for number in range(2000)]
    rows = pa.table({"example_id": ids, "window": [0, 1] * 1000})
    drawn = compared.drawn(rows, 300)
    found = drawn["example_id"].to_pylist()
    assert len(found) == 600
    assert len(set(found)) == 300
    assert found == sorted(found)
    assert drawn["window"].to_pylist() == [0, 1] * 300
    # 300 of 1000 without replacement: 150 ± 7.2 of each half (hypergeometric); five deviations
    assert 114 < sum(one < "0500" for one in set(found)) < 186
    assert compared.drawn(rows, 300).equals(drawn)
    assert compared.drawn(rows, 1000).equals(rows)
