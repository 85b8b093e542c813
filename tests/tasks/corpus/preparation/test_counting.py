"""How much of a source may be set aside: its share, exactly, and a single row always."""

from pathlib import Path

import pytest

from data_contracts.errors import ContractViolation
from tasks.corpus.preparation.counting import check_rates


def check(quarantined, rows_in, limit):
    counts = {"mine": {"rows_in": rows_in, "quarantined": {"too_long": quarantined}}}
    check_rates(counts, Path("quarantine.parquet"), limit=limit)


@pytest.mark.parametrize("percent", range(1, 101))
def test_as_many_rows_as_the_limit_says_may_be_set_aside(percent):
    """29 of 100 rows (29.0%) were refused by a limit of 29.0%: 0.29 * 100 is 28.999999999999996."""
    check(percent, 100, percent / 100)
    check(percent * 9_999_999, 999_999_900, percent / 100)
    for quarantined, rows_in in ((percent + 1, 100), (percent * 9_999_999 + 1, 999_999_900)):
        if quarantined <= rows_in:
            with pytest.raises(ContractViolation):
                check(quarantined, rows_in, percent / 100)


def test_a_single_row_is_allowed_unless_none_is():
    """A source of ten rows stopped the run for one."""
    check(1, 10, 0.05)
    check(0, 0, 0.0)
    for quarantined, limit in ((2, 0.05), (1, 0.0)):
        with pytest.raises(ContractViolation):
            check(quarantined, 10, limit)


def test_labels_that_are_unknown_as_no_train_row_is_left_are_told_so():
    """`Known: none`: sixty tickets, each a near copy of those cut from them for the test."""
    counts = {
        "tickets": {
            "role": "train",
            "rows_in": 60,
            "quarantined": {"leak_near": 53, "too_long": 7},
        },
        "checked": {"role": "test", "rows_in": 20, "quarantined": {"unknown_label": 20}},
    }
    limits = {"limit": 0.05, "forgiven": ("leak_near", "too_long")}
    with pytest.raises(ContractViolation) as refused:
        check_rates(counts, Path("quarantine.parquet"), **limits)
    assert refused.value.fact.endswith("no train row is left: leak_near 53, too_long 7")
    with pytest.raises(ContractViolation) as refused:
        check_rates(counts, Path("quarantine.parquet"), known_labels=["light", "heat"], **limits)
    assert refused.value.fact.endswith("data.filters.labels: heat, light")
