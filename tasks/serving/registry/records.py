"""What the registry tells: versions, alias changes, and names that are safe everywhere."""

from __future__ import annotations

import re
import unicodedata

from data_contracts.artifacts import Frozen
from data_contracts.errors import UserError
from tasks.runtime.redaction import redact

_SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class VersionRecord(Frozen):
    """One registered version, as `decant status` lists it."""

    model_name: str
    version: int
    aliases: tuple[str, ...]
    digest: str
    run_id: str
    created_at: str
    tags: dict[str, str]


class AliasChange(Frozen):
    """Which versions the aliases point to after a promotion or a rollback."""

    model_name: str
    champion: int
    previous: int | None
    changed: bool


def safe_name(name: str) -> str:
    """`name`, if it can be a model's name everywhere: in a URI, a path, a terminal.

    MLflow itself accepts newlines, direction marks and 5,000 characters.
    Raises: UserError.
    """
    if (
        not _SAFE_NAME.fullmatch(name)
        or ".." in name
        or unicodedata.normalize("NFKC", name) != name
    ):
        raise UserError(
            f"{name!r} cannot be the name of a model",
            rule="1 to 64 of a-z, 0-9, dot, underscore and dash, the first a letter or digit",
            remedy="choose a name such as home-intents-zh",
        )
    return name


def not_registered(model_name: str, where: str) -> UserError:
    """What is told of a model that the registry at `where` does not have."""
    return UserError(
        f"no model {model_name!r} is registered at {redact(where)}",
        rule="a model exists once a run has passed its gates",
        remedy="decant run RECIPE registers one, decant status lists what is registered; check "
        "the name, DECANT_HOME and MLFLOW_TRACKING_URI",
    )
