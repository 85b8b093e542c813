"""When a deployment runs by itself: five cron fields, refused before anything is started for them.

Prefect's settings are fixed once this has asked Prefect: not before PREFECT_API_URL is known.
"""

from __future__ import annotations

from data_contracts.errors import UserError

_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")


def check_schedule(cron: str) -> None:
    """Refuse what Prefect would not read, naming the fields that are at fault.

    Raises: UserError
    """
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        fault = f"it has {len(fields)} fields"
    elif _is_read(cron):
        return
    else:
        wrong = [
            f"{name} {field!r}"
            for at, (name, field) in enumerate(zip(_FIELDS, fields, strict=True))
            if not _is_read(" ".join(["*"] * at + [field] + ["*"] * (4 - at)))
        ]
        fault = f"not understood: {', '.join(wrong) or 'these fields together'}"
    raise UserError(
        f"--cron {cron!r} is no schedule: {fault}",
        rule="five fields, in UTC: minute (0-59), hour (0-23), day of the month (1-31), "
        "month (1-12), day of the week (0-7, Sunday is 0 and 7)",
        remedy='such as --cron "0 3 * * *", every night at three',
    )


def _is_read(cron: str) -> bool:
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=cron)
    except ValueError:
        return False
    return True
