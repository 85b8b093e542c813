"""`decant rollback`: go back to the previous champion."""

from flows.orchestration.environment import answer_soon, prepare_environment, quieten


def rollback(model: str) -> None:
    """Make the previous champion the champion again; a second call undoes the first.

    Parameters
    ----------
    model
        Registered name; decant status lists them.
    """
    prepare_environment()
    answer_soon()
    quieten()
    from tasks.registration import rollback as exchange

    change = exchange(model)
    print(f"{model}: champion is version {change.champion}, previous version {change.previous}")
