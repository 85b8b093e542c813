"""`run_stage`: the one path by which anything in Decant is computed.

    key parts ──► hit? verified artifact                                      (cached)
        └─ miss ─► lock the key ─► hit now? (another run built it while we waited)
                        └─ still a miss ─► function(config, inputs, workspace) ─► publish

A forced build belongs to a *run*: a retry within it goes on from its checkpoints and takes what the
run has already built; another forced run starts anew.

A stage is a pure function of its configuration, its input artifacts and the models and sources its
configuration names. Two identical runs at once: one builds, the other waits for the lock and hits.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from data_contracts.artifacts import Artifact, Frozen, KeyParts, StageSummary
from data_contracts.errors import CorruptArtifact, SourceError
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.disk_errors import disk_errors_told
from tasks.runtime.files.listings import listings_kept
from tasks.runtime.files.locations import location_digest
from tasks.runtime.fingerprint import jsonable
from tasks.runtime.progress import Progress, SilentProgress

_FORCED_BY = ".forced-by"  # in a work directory: the run that last forced this key


class StageConfig(Frozen):
    """Base of every stage's configuration: frozen, unknown keys refused, part of the key."""

    def locations(self) -> tuple[str, ...]:
        """URIs of the models and sources this stage loads; their content digests enter the key."""
        return ()


@dataclass(frozen=True)
class Workspace:
    """What a running stage may touch.

    Args:
        output: temporary directory whose files become the artifact.
        work: directory of this key that survives a kill: checkpoints and finished shards.
        store: the store, for stages that keep each shard as an artifact of its own.
        progress: listener.
        workers: parallel workers a data stage may use; never changes its bytes.
        force: whether to build again what the stage keeps as inner artifacts, such as shards.
        run_id: identifier of the run, for building those: see `run_stage`.
    """

    output: Path
    work: Path
    store: ArtifactStore
    progress: Progress = field(default_factory=SilentProgress)
    workers: int = 1
    force: bool = False
    run_id: str = ""


class StageFunction(Protocol):
    """The shape of every stage's function."""

    def __call__(
        self, config: BaseModel, inputs: Mapping[str, Artifact], workspace: Workspace, /
    ) -> StageSummary:
        """Write files into `workspace.output` and summarise them."""
        ...


@dataclass(frozen=True)
class Stage:
    """A named, versioned stage function.

    Args:
        name: names the artifact folder and the task; `corpus`, `teacher`, not a verb.
        version: bumped by hand when the output of the same inputs changes.
        function: see `StageFunction`.
        still_holds: for a stage with an effect outside the store (the registry): whether the
            recorded result still stands there. A hit that no longer holds is rebuilt.
        on_one_thread: whether it computes on one thread with a given configuration, so that several
            such stages may run side by side. Decided by what is computed, never by the load of the
            machine: another number of threads rounds differently.
        score_version: of the validation figures that it chooses a step by, with a given
            configuration: `Problem.score_version`. None: it chooses none.
    """

    name: str
    version: int
    function: Callable[..., StageSummary]
    still_holds: Callable[[Artifact], bool] | None = None
    on_one_thread: Callable[[Any], bool] | None = None
    score_version: Callable[[Any], int] | None = None


@dataclass(frozen=True)
class StageOutcome:
    """The artifact of a stage and whether it was there already."""

    artifact: Artifact
    cached: bool


class RunStage(Protocol):
    """`run_stage`, or something that runs it elsewhere."""

    def __call__(
        self,
        stage: Stage,
        config: StageConfig,
        inputs: Mapping[str, Artifact],
        *,
        store: ArtifactStore,
        progress: Progress | None = None,
        workers: int = 1,
        force: bool = False,
        run_id: str = "",
    ) -> StageOutcome:
        """See `run_stage`."""
        ...


def key_parts(stage: Stage, config: StageConfig, inputs: Mapping[str, Artifact]) -> KeyParts:
    """What defines the result of running `stage`: hashed into its key."""
    return _key_parts(stage, config, inputs, _digests(config))


def _key_parts(
    stage: Stage, config: StageConfig, inputs: Mapping[str, Artifact], digests: Mapping[str, str]
) -> KeyParts:
    return KeyParts(
        stage=stage.name,
        version=stage.version,
        config=_by_content(jsonable(config), digests),
        upstream={name: artifact.content_digest for name, artifact in sorted(inputs.items())},
        score_version=stage.score_version(config) if stage.score_version else 1,
    )


def _digests(config: StageConfig) -> dict[str, str]:
    return {uri: location_digest(uri) for uri in sorted(set(config.locations()))}


def _by_content(value: Any, digests: Mapping[str, str]) -> Any:
    """`value` with every URI replaced by what lies there: paths do not define a result.

    A URI is a field of its own. What a field `name` or a list of names says is told in results,
    and stays though it may be spelt like one: `a.csv` is a path, and the name of its file.
    """
    if isinstance(value, dict):
        return {
            key: f"content:{digests[item]}"
            if key != "name" and isinstance(item, str) and item in digests
            else _by_content(item, digests)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_by_content(item, digests) for item in value]
    return value


def find(
    stage: Stage,
    config: StageConfig,
    inputs: Mapping[str, Artifact],
    *,
    store: ArtifactStore,
    progress: Progress,
) -> StageOutcome | None:
    """The verified artifact of `stage` if the store has it; builds nothing."""
    artifact = _valid_hit(stage, key_parts(stage, config, inputs), store, progress)
    return StageOutcome(artifact, cached=True) if artifact else None


@listings_kept()
def run_stage(
    stage: Stage,
    config: StageConfig,
    inputs: Mapping[str, Artifact],
    *,
    store: ArtifactStore,
    progress: Progress | None = None,
    workers: int = 1,
    force: bool = False,
    run_id: str = "",
) -> StageOutcome:
    """The artifact of `stage`: from the store if it verifies, otherwise built and published.

    Args:
        force: build again even if the store has a verified artifact, unless the run built it.
        run_id: identifier of the run this call belongs to, equal in its retries: they go on from
            the checkpoints that the run's earlier attempts left. Empty: a run of its own.

    Raises:
        MachineExhausted: the disk is full or fails; the store and checkpoints stay as they are.
        SourceError: a source or model cannot be read, or changed meanwhile.
    """
    progress = progress or SilentProgress()
    run_id = run_id or uuid.uuid4().hex
    digests = _digests(config)
    parts = _key_parts(stage, config, inputs, digests)

    def hit(*, any_run: bool) -> Artifact | None:
        usable = any_run or store.built_by(parts) == run_id
        return _valid_hit(stage, parts, store, progress) if usable else None

    if artifact := hit(any_run=not force):
        return StageOutcome(artifact, cached=True)
    waited = []

    def on_wait() -> None:
        waited.append(True)
        progress.say(f"{stage.name}: being built by another step or run; waiting for it")

    with store.lock(parts, on_wait=on_wait):
        # Whoever waited was after the same result, so even a forced run takes what it waited for.
        if artifact := hit(any_run=not force or bool(waited)):
            return StageOutcome(artifact, cached=True)
        work = store.work_directory(parts)
        if force:
            _start_anew(work, run_id)
        work.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with disk_errors_told(stage.name, store.root), store.writing(parts) as output:
            workspace = Workspace(output, work, store, progress, workers, force, run_id)
            summary = stage.function(config, inputs, workspace)
            if changed := [uri for uri, now in _digests(config).items() if now != digests[uri]]:
                shutil.rmtree(work, ignore_errors=True)  # checkpoints may be of either content
                raise _changed_meanwhile(changed)
            artifact = store.publish(
                output,
                parts,
                summary,
                upstream_keys={name: upstream.key for name, upstream in inputs.items()},
                locations=digests,
                duration_seconds=round(time.monotonic() - started, 3),
                run_id=run_id,
            )
        shutil.rmtree(work, ignore_errors=True)
        return StageOutcome(artifact, cached=False)


def _changed_meanwhile(uris: list[str]) -> SourceError:
    return SourceError(
        f"{', '.join(map(repr, uris))} changed while it was read",
        rule="results are kept under the content that they were made of; this one is of neither",
        remedy="run again once nobody writes to it",
    )


def _start_anew(work: Path, run_id: str) -> None:
    """Discard what other runs left in `work`; what this forced run left is kept."""
    mark = work / _FORCED_BY
    if mark.is_file() and mark.read_text(encoding="utf-8") == run_id:
        return
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    mark.write_text(run_id, encoding="utf-8")


def _valid_hit(
    stage: Stage, parts: KeyParts, store: ArtifactStore, progress: Progress
) -> Artifact | None:
    try:
        artifact = store.lookup(parts)
    except CorruptArtifact as error:
        progress.say(f"{error.fact}; building it again")
        return None
    if artifact and stage.still_holds and not stage.still_holds(artifact):
        return None
    return artifact
