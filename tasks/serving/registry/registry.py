"""The MLflow registry: versions by content digest, aliases and who moved them.

Without `MLFLOW_TRACKING_URI` everything lies below Decant's home: `mlflow.db` and `mlartifacts/`.
MLflow itself registers the same model twice when asked twice and lets two aliases be moved in
between each other, so every change here happens under one file lock a model name; against a server
shared by several machines, `one_version` settles a lost race by the lowest version number.

mlflow is imported inside functions: it costs 1.3 s, which `decant --help` must not pay.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from data_contracts.errors import TransientError, UserError
from tasks.runtime.files.locations import home
from tasks.runtime.locks import exclusive_lock
from tasks.runtime.redaction import redact
from tasks.serving.registry.databases import database_lock, is_unmade, make_database
from tasks.serving.registry.records import AliasChange, VersionRecord, not_registered, safe_name

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
DIGEST_TAG = "content_digest"
EXPERIMENT = "decant"
_TRANSIENT_CODES = frozenset(
    {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
)


def tracking_uri() -> str:
    """Where runs and versions are kept: `$MLFLOW_TRACKING_URI`, or a database in Decant's home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def is_registered(model_name: str, version: int, digest: str) -> bool:
    """Whether that version exists and holds that content."""
    rows = _local_rows(
        "SELECT 1 FROM model_versions AS v JOIN model_version_tags AS t "
        "ON t.name = v.name AND t.version = v.version AND t.workspace = v.workspace "
        "WHERE v.name = ? AND v.version = ? AND t.key = ? AND t.value = ? "
        "AND v.current_stage != 'Deleted_Internal'",
        (model_name, version, DIGEST_TAG, digest),
    )
    if rows is None:
        return Registry().find(model_name, digest) == version
    return bool(rows)


def aliases_of(model_name: str, version: int) -> list[str]:
    """The aliases that point to that version now, in alphabetical order."""
    rows = _local_rows(
        "SELECT alias, version FROM registered_model_aliases WHERE name = ?", (model_name,)
    )
    pointing = Registry().aliases(model_name).items() if rows is None else rows
    return sorted(alias for alias, at in pointing if at == version)


def _local_rows(query: str, values: tuple[str | int, ...]) -> list[Any] | None:
    """What a local database answers; None if there is a server, or another schema than is known.

    It is read directly: 2.8 s of MLflow start-up would be most of a run in which every stage is
    cached.
    """
    uri = tracking_uri()
    if not uri.startswith("sqlite:///"):
        return None
    database = Path(uri.removeprefix("sqlite:///"))
    if not database.exists():
        return []
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        logging.getLogger(__name__).debug("mlflow.db has another schema; asking MLflow")
        return None


def registry_with(model_name: str) -> Registry:
    """The registry, for what a model of that name must be there for; nothing is made for it.

    Raises: UserError if the name cannot be a model's, or nothing was ever registered.
    """
    safe_name(model_name)
    if is_unmade(tracking_uri()):
        raise not_registered(model_name, tracking_uri())
    return Registry()


class Registry:
    """An open connection to the registry that `tracking_uri` names."""

    def __init__(self) -> None:
        """Connect, making the local database if it does not exist.

        Raises: TransientError if a server cannot be reached.
        """
        # Before the first import: afterwards MLflow has already asked whether it may report usage.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        # It would print each run's address with the user and password of the server's.
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        import mlflow
        from mlflow.exceptions import MlflowException

        self.uri = tracking_uri()
        self.is_local = self.uri.startswith("sqlite:")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        home().mkdir(parents=True, exist_ok=True)
        with database_lock(), self._errors():
            try:
                make_database(self.uri)
                self.client = mlflow.MlflowClient(self.uri)
                self.client.get_experiment_by_name(EXPERIMENT)  # a server that is away says so
            except MlflowException as error:
                if error.error_code in _TRANSIENT_CODES:
                    raise
                raise _unusable(self.uri, error) from error

    @cached_property
    def experiment_id(self) -> str:
        """The experiment of Decant's runs, made for the first of them: whoever reads needs none."""
        with database_lock(), self._errors():
            found = self.client.get_experiment_by_name(EXPERIMENT)
            if found is not None:
                return found.experiment_id
            # By default a local database keeps artifacts below the working directory.
            location = (home() / "mlartifacts").as_uri() if self.is_local else None
            return self.client.create_experiment(EXPERIMENT, location)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Tell an unreachable or overloaded server as transient; everything else passes."""
        import requests
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, requests.RequestException) as error:
            code = getattr(error, "error_code", "INTERNAL_ERROR")
            if code not in _TRANSIENT_CODES:
                raise
            raise TransientError(
                f"the registry at {redact(self.uri)} cannot be reached: "
                f"{redact(str(error)).splitlines()[0]}",
                rule="models are registered and looked up at the MLflow server that "
                "MLFLOW_TRACKING_URI names",
                remedy="run again once it answers; of a run, everything before registration is "
                "cached",
            ) from error

    def lock(self, model_name: str) -> AbstractContextManager[None]:
        """One writer of this model's versions and aliases on this machine."""
        return exclusive_lock(home() / "locks" / f"registry-{safe_name(model_name)}.lock")

    def calls(self) -> AbstractContextManager[None]:
        """Wrap calls of `client` so that outages are raised as TransientError."""
        return self._errors()

    def find(self, model_name: str, digest: str) -> int | None:
        """The lowest version of the model that holds this content, or None."""
        condition = f"name='{safe_name(model_name)}' and tags.{DIGEST_TAG}='{digest}'"
        with self._errors():
            found = self.client.search_model_versions(condition)
        return min((int(one.version) for one in found), default=None)

    def aliases(self, model_name: str) -> dict[str, int]:
        """Alias -> version; empty for a model that does not exist."""
        from mlflow.exceptions import MlflowException

        try:
            with self._errors():
                found = self.client.get_registered_model(safe_name(model_name)).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: int(version) for alias, version in found.items()}

    def versions(self, model_name: str | None = None) -> list[VersionRecord]:
        """Decant's versions of one model, or of all, newest first within a model.

        A server may hold other people's too: they have no content digest, and any name.
        """
        condition = f"name='{safe_name(model_name)}'" if model_name else ""
        found, token = [], None
        while token != "":
            with self._errors():
                page = self.client.search_model_versions(condition, 1000, page_token=token)
            found += [one for one in page if DIGEST_TAG in one.tags]
            token = page.token or ""
        pointing = {name: self.aliases(name) for name in sorted({one.name for one in found})}
        records = [
            VersionRecord(
                model_name=one.name,
                version=int(one.version),
                # The search leaves aliases out, so they are joined here.
                aliases=tuple(
                    sorted(
                        alias
                        for alias, version in pointing[one.name].items()
                        if version == int(one.version)
                    )
                ),
                digest=one.tags[DIGEST_TAG],
                run_id=one.run_id or "",
                created_at=datetime.fromtimestamp(one.creation_timestamp / 1000, UTC).isoformat(
                    timespec="seconds"
                ),
                tags=dict(one.tags),
            )
            for one in found
        ]
        return sorted(records, key=lambda one: (one.model_name, -one.version))

    def resolve(self, model_name: str, which: str | int) -> int:
        """The version that a number or an alias names.

        Raises: UserError if there is no such model, version or alias.
        """
        versions = {record.version for record in self.versions(model_name)}
        if not versions:
            raise not_registered(model_name, self.uri)
        aliases = self.aliases(model_name)
        version = aliases.get(str(which))
        if version is None and str(which).isdecimal():
            version = int(which)
        if version not in versions:
            known = ", ".join(f"{alias} (version {at})" for alias, at in sorted(aliases.items()))
            raise UserError(
                f"{model_name!r} has no version or alias {which!r}",
                rule=f"versions {min(versions)} to {max(versions)}; aliases: {known or 'none'}",
                remedy="decant status lists both",
            )
        return version

    def create_version(
        self, model_name: str, *, source: str, run_id: str, tags: dict[str, str], description: str
    ) -> int:
        """Register the logged model at `source`; of equal contents the lowest version stays."""
        from mlflow.exceptions import MlflowException

        with self._errors():
            try:
                self.client.create_registered_model(safe_name(model_name))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            created = self.client.create_model_version(
                model_name,
                source,
                run_id,
                tags=tags,
                description=description,
                model_id=source.removeprefix("models:/"),
            )
        return self._one_version(model_name, int(created.version), tags[DIGEST_TAG])

    def _one_version(self, model_name: str, version: int, digest: str) -> int:
        """Of versions with equal content keep the lowest: another machine may have been faster."""
        lowest = self.find(model_name, digest)
        if lowest is not None and lowest < version:
            with self._errors():
                self.client.delete_model_version(model_name, str(version))
            return lowest
        return version

    def tags(self, model_name: str, version: int) -> dict[str, str]:
        """Tags of a version."""
        with self._errors():
            return dict(self.client.get_model_version(model_name, str(version)).tags)

    def run_id(self, model_name: str, version: int) -> str:
        """The run that registered a version; empty if it came from elsewhere."""
        with self._errors():
            return self.client.get_model_version(model_name, str(version)).run_id or ""

    def read_json(self, model_name: str, version: int, path: str) -> Any:
        """The JSON file at `path` of a version's model folder.

        Raises: UserError if the version was not registered by Decant.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory() as folder:
            try:
                with self._errors():
                    uri = f"models:/{model_name}/{version}/{path}"
                    file = download_artifacts(uri, dst_path=folder)
                return json.loads(Path(file).read_text(encoding="utf-8"))
            except (MlflowException, OSError) as error:
                raise UserError(
                    f"version {version} of {model_name!r} has no {path}",
                    rule="models that Decant registers carry their lineage",
                    remedy="ask about a version that Decant registered: decant status lists them",
                ) from error

    @contextmanager
    def run_files(self, model_name: str, version: int, path: str) -> Iterator[Path | None]:
        """A folder of the run that registered a version, for a while; None if it has none."""
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        run_id = self.run_id(model_name, version)
        with tempfile.TemporaryDirectory() as folder:
            found = None
            if run_id:
                try:
                    with self._errors():
                        uri = f"runs:/{run_id}/{path}"
                        found = Path(download_artifacts(uri, dst_path=folder))
                except (MlflowException, OSError):
                    found = None  # the run was deleted, or logged by someone else
            yield found

    def set_alias(self, model_name: str, alias: str, version: int, *, why: str) -> bool:
        """Point `alias` to `version` and write down when, who and why; False if it did already."""
        before = self.aliases(model_name).get(alias)
        if before == version:
            return False
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        note = f"{alias} set by {_user()}, was {before or 'unset'}: {why}"
        with self._errors():
            # The note first: a change that is not on record is worse than a record too many.
            self.client.set_model_version_tag(model_name, str(version), f"alias_change {now}", note)
            self.client.set_registered_model_alias(model_name, alias, str(version))
        return True

    def promote(self, model_name: str, version: int, *, why: str) -> AliasChange:
        """Make `version` the champion and the former one `previous`; hold `lock` around it."""
        former = self.aliases(model_name).get(CHAMPION)
        if former == version:
            return self._aliases_now(model_name, changed=False)
        if former is not None:
            self.set_alias(model_name, PREVIOUS, former, why=f"version {version} follows it")
        self.set_alias(model_name, CHAMPION, version, why=why)  # last: readers follow this one
        return self._aliases_now(model_name, changed=True)

    def rollback(self, model_name: str) -> AliasChange:
        """Exchange champion and previous; hold `lock` around it.

        Raises: UserError if there is no previous champion.
        """
        aliases = self.aliases(model_name)
        if PREVIOUS not in aliases or CHAMPION not in aliases:
            raise UserError(
                f"{model_name!r} has no previous champion to go back to",
                rule="rollback exchanges the aliases champion and previous",
                remedy="promote a version by number: decant promote NAME VERSION; decant status "
                "lists them",
            )
        champion, previous = aliases[CHAMPION], aliases[PREVIOUS]
        # Champion first: whoever rolls back has a bad model in production now.
        self.set_alias(model_name, CHAMPION, previous, why=f"rolled back from version {champion}")
        self.set_alias(model_name, PREVIOUS, champion, why="rolled back")
        return self._aliases_now(model_name, changed=champion != previous)

    def _aliases_now(self, model_name: str, *, changed: bool) -> AliasChange:
        aliases = self.aliases(model_name)
        return AliasChange(
            model_name=model_name,
            champion=aliases[CHAMPION],
            previous=aliases.get(PREVIOUS),
            changed=changed,
        )


def _unusable(uri: str, error: Exception) -> UserError:
    return UserError(
        f"MLflow cannot use {redact(uri)}: {redact(str(error)).splitlines()[0]}",
        rule="MLFLOW_TRACKING_URI names a server (http://…) or a database (sqlite:///…)",
        remedy="correct it, or unset it to use the database in DECANT_HOME",
    )


def _user() -> str:
    try:
        return os.environ.get("USER") or getpass.getuser()
    except (KeyError, OSError):  # a container user without a name
        return f"uid {os.getuid()}"
