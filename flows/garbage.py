"""What may be removed from a store: leftovers of killed runs, and artifacts that nothing uses.

In use is what some recipe's step used last (`runs.py`), and everything that a registered model was
made from: each registration artifact is kept, and lineage is walked upstream from there. A shard
that stages keep as an artifact of its own is in use as long as its data are part of one in use: new
rows are then still read alone. So is the copy of a delivered student that texts are scored with.
Mapped examples and texts, other forms of their inputs, are in use as long as all of those are.
Scores belong to no recipe: they were copied to where they were asked for, and what a later `decant
score` could take over goes with age. Keys that a living process holds locked are never touched.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from data_contracts.artifacts import Manifest
from flows.liveness import is_alive
from flows.runs import step_records
from tasks.registration import STAGE as REGISTRATION
from tasks.runtime.artifacts import ArtifactStore

_SECONDS_A_DAY = 86_400
# Stages of which each artifact is another form of its inputs.
_OTHER_FORMS = ("examples", "masked_texts", "seq2seq_examples")
# Stages whose artifacts lend a file to others, and how it is called. Any other may be alike by
# chance: a configuration or a list of labels is that of hundreds of students.
_LENT_FILES = {
    "tokens_shard": "tokens.parquet",
    "teacher_signals_part": "part.parquet",
    "scored_model": "model/*.safetensors",
}


@dataclass(frozen=True)
class Garbage:
    """A folder that may be removed, its size, and why."""

    path: Path
    size_bytes: int
    reason: str

    def remove(self) -> None:
        """Delete the folder. A manifest goes first, so that no half artifact looks complete."""
        (self.path / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)


def find_garbage(store: ArtifactStore, *, days: float) -> list[Garbage]:
    """Folders of `store` that may be removed.

    Args:
        days: unused artifacts and abandoned checkpoints older than this count.
    """
    oldest = time.time() - days * _SECONDS_A_DAY
    return [
        *_leftovers(store.root, oldest),
        *_work(store.root, oldest),
        *_unused(store, oldest),
    ]


def _leftovers(root: Path, oldest: float) -> Iterator[Garbage]:
    """Half-written artifacts: no longer written to if no stage runs, or if they are old.

    However old, not while their key is held: the longest stages write nothing for hours.
    """
    nothing_runs = not any(is_alive(lock) for lock in (root / "locks").glob("*.lock"))
    for folder in sorted((root / "tmp").glob("*")):
        # Earlier releases wrote no key into the name.
        key = re.search(r"[0-9a-f]{64}", folder.name)
        if key and is_alive(root / "locks" / f"{key[0]}.lock"):
            continue
        if nothing_runs or _newest_change(folder) < oldest:
            yield Garbage(folder, _size(folder), "left by a run that was killed")


def _work(root: Path, oldest: float) -> Iterator[Garbage]:
    for folder in sorted((root / "work").glob("*/*")):
        key = folder.name
        if is_alive(root / "locks" / f"{key}.lock"):
            continue
        if (root / "artifacts" / folder.parent.name / key / "manifest.json").is_file():
            yield Garbage(folder, _size(folder), "its artifact is published")
        elif _newest_change(folder) < oldest:
            yield Garbage(folder, _size(folder), "checkpoints of an abandoned run")


def _unused(store: ArtifactStore, oldest: float) -> Iterator[Garbage]:
    manifests = {manifest.key: manifest for manifest in store.artifacts()}
    used = _used_keys(store.root, manifests)
    used_files = {
        entry.sha256 for key in used if key in manifests for entry in manifests[key].files
    }
    used_contents = {manifests[key].content_digest for key in used if key in manifests}
    for key, manifest in sorted(manifests.items()):
        folder = store.directory(manifest.key_parts)
        if key in used or is_alive(store.root / "locks" / f"{key}.lock"):
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
            yield Garbage(folder, _size(folder), "no recipe and no registered model uses it")


def _used_keys(root: Path, manifests: dict[str, Manifest]) -> set[str]:
    queue = [record.key for record in step_records(root)]
    queue += [k for k, m in manifests.items() if m.key_parts.stage == REGISTRATION.name]
    used: set[str] = set()
    while queue:
        key = queue.pop()
        if key not in used:
            used.add(key)
            if manifest := manifests.get(key):
                queue += manifest.upstream_keys.values()
    return used


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _newest_change(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
