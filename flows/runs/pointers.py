"""What the steps of a recipe used last: small pointer files, for people and for `plan`.

    <home>/runs/<recipe>.json           the last run: running, completed or failed, and where
    <home>/runs/<recipe>/<step>.json    the key parts that the step last used, kept even after `gc`

Nothing is computed from these files: they tell why a key changed and which artifacts are in use.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from data_contracts.artifacts import Frozen, KeyParts
from data_contracts.errors import DecantError
from flows.runs.liveness import alive, is_alive
from tasks.runtime.artifacts import replace_file
from tasks.runtime.redaction import redact
from tasks.runtime.stages import StageOutcome

Record = TypeVar("Record", bound=Frozen)


class StepRecord(Frozen):
    """One step of the last run that reached it."""

    run: str = Field(description="identifier of that run")
    step: str
    key: str = Field(description="key of the artifact it used, 64 hex characters")
    key_parts: KeyParts
    cached: bool
    seconds: float = Field(ge=0, description="time the step took in that run, look-up included")
    finished_at: str = Field(description="UTC, ISO 8601")
    facts: dict[str, float | int | str] = Field(default_factory=dict)


class RunRecord(Frozen):
    """The last run of a recipe."""

    run: str
    recipe: str
    state: Literal["running", "completed", "failed"]
    steps: tuple[str, ...] = Field(description="names of its steps, in order")
    started_at: str = Field(description="UTC, ISO 8601")
    finished_at: str | None = None
    failed_step: str | None = None
    error: str | None = None


class RunLog:
    """Writes and reads the pointer files of one recipe."""

    def __init__(self, root: Path, recipe: str) -> None:
        """Use `root`, the store's root, for the recipe of that name."""
        self._root = root
        self._recipe = recipe
        self._folder = root / "runs" / recipe
        self._file = root / "runs" / f"{recipe}.json"

    def step(self, name: str) -> StepRecord | None:
        """What step `name` used last, or None if it never finished (or an older format says it)."""
        return _read(self._folder / f"{name}.json", StepRecord)

    def last_run(self) -> RunRecord | None:
        """The last run that was started, or None."""
        return _read(self._file, RunRecord)

    def is_alive(self, record: RunRecord) -> bool:
        """Whether the process of `record` still runs: it holds a lock that its death releases."""
        return is_alive(self._lock(record.run))

    def write_step(self, run: str, step: str, outcome: StageOutcome, seconds: float) -> None:
        """Remember what `step` used in `run`."""
        manifest = outcome.artifact.manifest
        record = StepRecord(
            run=run,
            step=step,
            key=manifest.key,
            key_parts=manifest.key_parts,
            cached=outcome.cached,
            seconds=round(seconds, 3),
            finished_at=_now(),
            facts=manifest.facts,
        )
        replace_file(self._folder / f"{step}.json", record.model_dump_json(indent=2))

    @contextmanager
    def run(self, steps: tuple[str, ...]) -> Iterator[RunningRun]:
        """Record a run from its start to its end, however it ends."""
        started = datetime.now(UTC)
        name = f"{started:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        running = RunningRun(name)
        record = RunRecord(
            run=name,
            recipe=self._recipe,
            state="running",
            steps=steps,
            started_at=started.isoformat(timespec="seconds"),
        )
        with alive(self._lock(name)):
            self._write(record)
            try:
                yield running
            except BaseException as error:
                fact = error.fact if isinstance(error, DecantError) else repr(error)
                failed = {
                    "state": "failed",
                    "finished_at": _now(),
                    "failed_step": running.step,
                    "error": redact(fact),
                }
                with suppress(OSError):  # a full disk, and `error` is what says so
                    self._write(record.model_copy(update=failed))
                raise
            else:
                self._write(record.model_copy(update={"state": "completed", "finished_at": _now()}))

    def _write(self, record: RunRecord) -> None:
        replace_file(self._file, record.model_dump_json(indent=2))

    def _lock(self, run: str) -> Path:
        return self._root / "locks" / f"run-{run}.lock"


class RunningRun:
    """A run in progress: its identifier and the step it is at."""

    def __init__(self, name: str) -> None:
        """Start before the first step."""
        self.name = name
        self.step: str | None = None


def recipes_run(root: Path) -> list[str]:
    """Names of the recipes that were ever run under `root`, the latest first."""
    files = sorted((root / "runs").glob("*.json"), key=lambda path: -path.stat().st_mtime)
    return [path.stem for path in files]


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
