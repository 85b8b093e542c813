"""Schedules of `decant serve`: what Prefect reads passes, the rest names its fields."""

import pytest

from data_contracts.errors import UserError
from flows.orchestration.schedule import check_schedule


@pytest.mark.parametrize(
    "cron", ["0 3 * * *", "*/15 8-18 * * MON-FRI", "0 0 L * *", "0,30 3 1 JAN,JUL 7", "0 3 * * 1#2"]
)
def test_what_prefect_reads_is_a_schedule(cron):
    """A nightly training refused because our idea of cron is poorer than Prefect's."""
    check_schedule(cron)


@pytest.mark.parametrize(
    ("cron", "faults"),
    [
        ("61 * * * *", ["minute '61'"]),
        ("* 24 * 13 *", ["hour '24'", "month '13'"]),
        ("L * * * *", ["minute 'L'"]),
        ("0 three * * 8", ["hour 'three'", "day of the week '8'"]),
        ("0 0 H * *", ["day of the month 'H'"]),
        ("0 3 * *", ["it has 4 fields"]),
        ("0 0 3 * * *", ["it has 6 fields"]),
        ("@daily", ["it has 1 fields"]),
    ],
)
def test_what_it_does_not_read_is_told_by_the_fields_at_fault(cron, faults):
    """`'0 24 1 1 *' is no schedule`, and five fields to be compared with a manual page."""
    with pytest.raises(UserError) as refused:
        check_schedule(cron)
    told = refused.value.fact.removeprefix(f"--cron {cron!r} is no schedule: ")
    assert told.removeprefix("not understood: ").split(", ") == faults
    assert "minute (0-59)" in refused.value.rule
    assert "--cron" in refused.value.remedy
