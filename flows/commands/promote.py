"""`decant promote`: choose the champion by hand."""

from flows.orchestration.environment import answer_soon, prepare_environment, quieten


def promote(model: str, version: str = "challenger") -> None:
    """Make a registered version the champion; the former one becomes `previous`.

    Parameters
    ----------
    model
        Registered name; decant status lists them.
    version
        Number or alias of the version.
    """
    prepare_environment()
    answer_soon()
    quieten()
    from tasks.registration import promote as make_champion

    change = make_champion(model, version)
    was = f", previous: version {change.previous}" if change.previous else ""
    verb = "is now" if change.changed else "was already"
    print(f"{model}: version {change.champion} {verb} the champion{was}")
