"""What may be removed from a store: leftovers of killed runs, and what nothing uses.

In use is what the steps of some recipe used last (`runs.py`), and everything that a registered
model was made from: each registration artifact is kept, and lineage is walked upstream from there.
A shard that stages keep as an artifact of its own is in use as long as its data are part of one in
use: new rows are then still read alone. So is the copy of a delivered student that texts are scored
with. Mapped examples and texts, other forms of their inputs, are in use as long as all of those
are. Scores belong to no recipe: they were copied to where they were asked for, and what a later
`decant score` could take over goes with age, as do copies of remote files.

Keys that a living process holds locked are never touched, nor anything under a name that the store
does not give: a home may hold other people's files.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from stat import S_ISREG

from data_contracts.artifacts import Manifest
from flows.runs.liveness import is_alive
from flows.runs.pointers import RunLog
from tasks.registration import STAGE as REGISTRATION
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.locks import exclusive_lock

_SECONDS_A_DAY = 86_400
# A run holds its lock, and a small file has its name, moments after they are made.
_SECONDS_TO_SETTLE = 60
# Stages of which each artifact is another form of its inputs.
_OTHER_FORMS = ("examples", "masked_texts", "seq2seq_examples")
# Stages whose artifacts lend a file to others, and how it is called. Any other may be alike by
# chance: a configuration or a list of labels is that of hundreds of students.
_LENT_FILES = {
    "tokens_shard": "tokens.parquet",
    "teacher_signals_part": "part.parquet",
    "scored_model": "model/*.safetensors",
}


_KEY = "[0-9a-f]{64}"
_TMP = re.compile(rf"[a-z0-9_]+-(?P<key>{_KEY})-[0-9a-f]{{32}}(-replaced)?")
_STAGE_AND_KEY = re.compile(rf"[a-z0-9_]+/(?P<key>{_KEY})")
_DOWNLOAD = re.compile(_KEY)
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{32}")
_RUN_LOCK = re.compile(r"run-\d{8}-\d{6}-[0-9a-f]{4}\.lock")


@dataclass(frozen=True)
class Garbage:
    """A folder or file that may be removed, its size, and why.

    Args:
        changed_at: when it was last changed, as it was listed.
        lock: held by whoever uses it; none for copies of remote files, which anybody reads.
    """

    path: Path
    size_bytes: int
    reason: str
    changed_at: float
    lock: Path | None

    def remove(self) -> bool:
        """Delete it unless it was changed since it was listed, or is locked; whether it was.

        A run that resumes waits until it is gone. One that takes an artifact from the store at this
        moment is not seen: it misses it, and its next run builds it. A manifest goes first, so that
        no half artifact looks complete.
        """
        try:
            with exclusive_lock(self.lock, wait=False) if self.lock else nullcontext():
                if _newest_change(self.path) > self.changed_at:
                    return False
                if self.path.is_file():
                    self.path.unlink()
                else:
                    (self.path / "manifest.json").unlink(missing_ok=True)
                    shutil.rmtree(self.path, ignore_errors=True)
        except (BlockingIOError, FileNotFoundError):
            return False
        return True


def find_garbage(store: ArtifactStore, *, days: float) -> list[Garbage]:
    """Folders and files of `store` that may be removed.

    Args:
        days: unused artifacts, abandoned checkpoints and copies older than this count.
    """
    oldest = time.time() - days * _SECONDS_A_DAY
    return [
        *_leftovers(store.root, oldest),
        *_work(store.root, oldest),
        *_downloads(store.root, oldest),
        *_unused(store, oldest),
    ]


def _leftovers(root: Path, oldest: float) -> Iterator[Garbage]:
    """Half-written artifacts: no longer written to if no stage runs, or if they are old.

    However old, not while their key is held: the longest stages write nothing for hours. Small
    files that runs and studies half wrote have no key: a moment old, they are being written. The
    lock of a killed run is held by nobody, and no other run will ask for one of that name.
    """
    nothing_runs = not any(is_alive(lock) for lock in (root / "locks").glob("*.lock"))
    for folder in sorted((root / "tmp").glob("*")):
        named = _TMP.fullmatch(folder.name)
        if not named or not _is_folder(folder):
            continue
        lock = root / "locks" / f"{named['key']}.lock"
        if not is_alive(lock) and (nothing_runs or _newest_change(folder) < oldest):
            yield _garbage(folder, "left by a run that was killed", lock)
    settled = time.time() - _SECONDS_TO_SETTLE
    abandoned = settled if nothing_runs else min(oldest, settled)
    for file in sorted((*(root / "runs").rglob(".*"), *(root / "tuning").glob("*/.*"))):
        if _PARTIAL.fullmatch(file.name) and _newest_change(file) < abandoned:
            yield _garbage(file, "left by a run that was killed", None)
    for lock in sorted((root / "locks").glob("run-*.lock")):
        if _RUN_LOCK.fullmatch(lock.name) and _newest_change(lock) < settled and not is_alive(lock):
            yield _garbage(lock, "left by a run that was killed", None)


def _work(root: Path, oldest: float) -> Iterator[Garbage]:
    for folder in sorted((root / "work").glob("*/*")):
        named = _STAGE_AND_KEY.fullmatch(folder.relative_to(root / "work").as_posix())
        if not named or not _is_folder(folder):
            continue
        lock = root / "locks" / f"{named['key']}.lock"
        if is_alive(lock):
            continue
        if (root / "artifacts" / folder.parent.name / folder.name / "manifest.json").is_file():
            yield _garbage(folder, "its artifact is published", lock)
        elif _newest_change(folder) < oldest:
            yield _garbage(folder, "checkpoints of an abandoned run", lock)


def _downloads(root: Path, oldest: float) -> Iterator[Garbage]:
    """Copies of remote files that nobody used for long, and what killed copies left.

    Who reads them holds no lock: what was touched within a day stays, whatever `oldest` is.
    """
    oldest = min(oldest, time.time() - _SECONDS_A_DAY)
    for folder in sorted((root / "downloads").glob("*")):
        if not _DOWNLOAD.fullmatch(folder.name) or not _is_folder(folder):
            continue
        if _newest_change(folder) < oldest:
            yield _garbage(folder, "a copy of remote files that nothing used lately", None)
            continue
        for file in sorted(folder.rglob(".*")):
            if _PARTIAL.fullmatch(file.name) and _newest_change(file) < oldest:
                yield _garbage(file, "left by a copy that was killed", None)


def _unused(store: ArtifactStore, oldest: float) -> Iterator[Garbage]:
    manifests = {manifest.key: manifest for manifest in store.artifacts()}
    used = _used_keys(store.root, manifests)
    used_files = {
        entry.sha256 for key in used if key in manifests for entry in manifests[key].files
    }
    used_contents = {manifests[key].content_digest for key in used if key in manifests}
    for key, manifest in sorted(manifests.items()):
        folder = store.directory(manifest.key_parts)
        lock = store.root / "locks" / f"{key}.lock"
        if key in used or is_alive(lock):
            continue
        lent = _LENT_FILES.get(manifest.key_parts.stage, "")
        if any(fnmatch(one.path, lent) and one.sha256 in used_files for one in manifest.files):
            continue
        # By content: the same tokens may have got another key since.
        sources = {*manifest.key_parts.upstream.values()}
        if manifest.key_parts.stage in _OTHER_FORMS and used_contents >= sources:
            continue
        # The folder's own time is that of its publishing.
        if folder.stat().st_mtime < oldest:
            yield _garbage(folder, "no recipe and no registered model uses it", lock)


def _used_keys(root: Path, manifests: dict[str, Manifest]) -> set[str]:
    queue = [*_used_last(root)]
    queue += [k for k, m in manifests.items() if m.key_parts.stage == REGISTRATION.name]
    used: set[str] = set()
    while queue:
        key = queue.pop()
        if key not in used:
            used.add(key)
            if manifest := manifests.get(key):
                queue += manifest.upstream_keys.values()
    return used


def _used_last(root: Path) -> Iterator[str]:
    """Keys that the steps of recipes used last; a step that a recipe no longer has uses nothing."""
    for folder in sorted((root / "runs").glob("*/")):
        log = RunLog(root, folder.name)
        last = log.last_run()
        for file in folder.glob("*.json"):
            record = log.step(file.stem)
            if record and (last is None or record.step in last.steps):
                yield record.key


def _garbage(path: Path, reason: str, lock: Path | None) -> Garbage:
    return Garbage(path, _size(path), reason, _newest_change(path), lock)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _size(path: Path) -> int:
    # A copy of a remote file has a name by itself and one in each set: to each its share.
    return sum(found.st_size // found.st_nlink for found in _stats(path) if S_ISREG(found.st_mode))


def _newest_change(path: Path) -> float:
    """When `path` or anything below it was last changed; infinity if nothing is there any more."""
    return max((found.st_mtime for found in _stats(path)), default=math.inf)


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Of `path` and all below it, as far as it is still there: copies are made without a lock."""
    for one in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):
            yield one.stat()
