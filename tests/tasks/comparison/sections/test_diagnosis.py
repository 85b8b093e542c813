"""The rows on which teacher and student are compared."""

import pyarrow as pa

from tasks.comparison.sections.diagnosis import drawn


def test_agreement_is_measured_on_rows_of_all_sources():
    """The first 2,000 validation rows are one source's: an agreement on news alone, told as that
    of all, where a student of news and speech lost its teacher in speech."""
    # Two windows an example, the way long contexts are read.
    ids = [f"{number // 2:04d}" for number in range(2000)]
    rows = pa.table({"example_id": ids, "window": [0, 1] * 1000})
    some = drawn(rows, seed=0, most=300)
    found = some["example_id"].to_pylist()
    assert len(found) == 600
    assert len(set(found)) == 300
    assert found == sorted(found)
    assert some["window"].to_pylist() == [0, 1] * 300
    # 300 of 1000 without replacement: 150 ± 7.2 of each half (hypergeometric); five deviations
    assert 114 < sum(one < "0500" for one in set(found)) < 186
    assert drawn(rows, seed=0, most=300).equals(some)
    assert drawn(rows, seed=0, most=1000).equals(rows)
