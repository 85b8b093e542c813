"""Files of object stores and of the Hugging Face hub: what lies there, and one copy of it here.

    <home>/downloads/<digest of its version>/<name>     a file, copied once
    <home>/downloads/<digest of its version>/.sealed/<name>     its SHA-256 as it came
    <home>/downloads/<digest of the set>/<path>         files of a folder or glob: links to those

A file that joins a set is fetched alone, and a set costs no room beside its files. What is used is
touched, so that `decant gc` sees what is not. Keys name what the server has, so a copy that is no
longer what came, or that nobody sealed, is fetched again.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from data_contracts.errors import SourceError, TransientError
from tasks.runtime.files.disk_errors import no_room, says_no_room
from tasks.runtime.files.listings import listed
from tasks.runtime.fingerprint import file_digest, fingerprint

# What a model folder may consist of: no pickles, no Python files.
_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
# The form of a hub's commit in a URI.
_COMMIT = re.compile(r"^hf://[^@]*@[0-9a-f]{40}(/|$)")
# SHA-256 by device, inode, size and time of change: a stage asks for its files several times, and
# what decays on the disk meanwhile is read from the memory that was hashed.
_HASHED: dict[tuple[int, int, int, int], str] = {}


class RemoteFile(NamedTuple):
    """A remote file: where it lies, its name below what the URI covers, its content's mark."""

    path: str
    name: str
    version: str
    size_bytes: int


def is_bookkeeping(folder: str) -> bool:
    """Whether a folder of this name holds what some program notes about the files beside it.

    Byte code is written by whichever Python imported a package, `.cache` by whoever fetched a
    model, `.ipynb_checkpoints` by who looked at a file: none of it is content.
    """
    return folder.startswith(".") or folder == "__pycache__"


def remote_digest(uri: str) -> str:
    """Digest of the remote files behind `uri`, by the versions that their server tells.

    Raises: SourceError if nothing is there; TransientError if the server cannot be reached.
    """
    return _digest(listed(uri, lambda: _found(uri))[1])


def remote_copies(uri: str, downloads: Path) -> list[Path]:
    """The remote files behind `uri`, sorted by name, below `downloads`; copied if they are new.

    Raises: SourceError if nothing is there; TransientError if the server cannot be reached, or a
        file changed while it was copied.
    """
    filesystem, files = listed(uri, lambda: _found(uri))
    if len(files) == 1:
        return [_copy(uri, filesystem, files[0], downloads)]
    folder = downloads / _digest(files)
    _touch([folder, *(downloads / _digest([file]) for file in files)])
    places = [folder / file.name for file in files]
    for file, place in zip(files, places, strict=True):
        _link(_copy(uri, filesystem, file, downloads), place)
    return places


def _copy(uri: str, filesystem: Any, file: RemoteFile, downloads: Path) -> Path:
    copy = downloads / _digest([file]) / posixpath.basename(file.path)
    seal = copy.parent / ".sealed" / copy.name
    _touch([copy.parent])
    if _is_sound(copy, file.size_bytes, seal):
        return copy
    with _written_whole(copy) as partial:
        with _remote(uri):
            filesystem.get_file(file.path, str(partial))
            if not _COMMIT.search(uri):  # of which nothing changes, and listings are long
                filesystem.invalidate_cache(file.path)
            now = filesystem.info(file.path)
        size = partial.stat().st_size
        if (_version(uri, now), size) != (file.version, file.size_bytes):
            raise TransientError(
                f"{uri!r}: {file.name} changed while it was copied: {file.size_bytes:,} bytes were "
                f"listed, {size:,} came",
                rule="a remote file is copied as it was listed, or not at all",
                remedy="try again once nobody writes to it",
            )
        with _written_whole(seal) as sealing:
            sealing.write_text(_sha256(partial), encoding="utf-8")
    return copy


def _is_sound(copy: Path, size_bytes: int, seal: Path) -> bool:
    """Whether a copy still is what came, by its seal; one without, or unreadable, is not."""
    try:
        return copy.stat().st_size == size_bytes and _sha256(copy) == seal.read_text("utf-8")
    except (OSError, ValueError):
        return False


def _link(copy: Path, place: Path) -> None:
    """`copy` under the name `place` too, at no cost where the file system can."""
    with suppress(OSError):  # not there yet, or unreadable
        if place.samefile(copy) or _sha256(place) == _sha256(copy):
            return
    with _written_whole(place) as partial:
        try:
            partial.hardlink_to(copy)
        except OSError:
            shutil.copyfile(copy, partial)


def _sha256(path: Path) -> str:
    stat = path.stat()
    mark = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if mark not in _HASHED:
        _HASHED[mark] = file_digest(path)
    return _HASHED[mark]


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """A name to write to; once the block ends well, it is `path`. `decant gc` knows its form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield partial
        with partial.open("rb") as stream:  # or a power cut leaves the name, without the bytes
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _touch(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # not there yet, or somebody else's
            os.utime(folder)


def _found(uri: str) -> tuple[Any, list[RemoteFile]]:
    import fsspec

    with _remote(uri):
        filesystem, path = fsspec.core.url_to_fs(uri)
        # File systems are shared and remember listings: a server of schedules must see new data.
        filesystem.invalidate_cache()
        if any(character in path for character in "*?["):
            infos = filesystem.glob(path, detail=True)
        elif filesystem.isfile(path):
            infos = {path: filesystem.info(path)}
        else:
            infos = filesystem.find(path, detail=True)
    # S3 lists "folders" as empty objects whose name ends in a slash.
    paths = _content(p for p, info in infos.items() if info["type"] == "file" and p[-1] != "/")
    if not paths:
        raise _nothing_there(uri)
    folder = _common_folder(paths)
    files = []
    for path in paths:
        name = posixpath.relpath(path, folder)
        if ".." in name.split("/") or ".." in path.split("/"):
            raise SourceError(
                f"{uri!r} holds the object {path!r}",
                rule="names of objects may not climb out of their folder",
                remedy="rename or leave out that object",
            )
        version = _version(uri, infos[path])
        files.append(RemoteFile(path, name, version, infos[path]["size"]))
    return filesystem, files


def _content(paths: Iterable[str]) -> list[str]:
    """`paths` in order, without what lies in a folder for bookkeeping below what all share."""
    known = sorted(paths)
    depth = len(PurePosixPath(_common_folder(known)).parts) if known else 0
    return [
        path for path in known if not any(map(is_bookkeeping, PurePosixPath(path).parts[depth:-1]))
    ]


def _common_folder(paths: list[str]) -> str:
    return posixpath.commonpath([posixpath.dirname(path) for path in paths])


def _version(uri: str, info: dict[str, Any]) -> str:
    """The mark of a remote file's content, wherever it lies and whenever it was written."""
    lfs = info.get("lfs")
    mark = (
        info.get("ETag") or (getattr(lfs, "sha256", None) if lfs else None) or info.get("blob_id")
    )
    if not mark:
        raise SourceError(
            f"{uri!r}: the server tells no ETag",
            rule="a remote file is known by the ETag or hash that its server tells",
            remedy="copy the data to a folder and name that",
        )
    return str(mark).strip('"')


def _digest(files: list[RemoteFile]) -> str:
    if len(files) == 1:
        return fingerprint(["remote", files[0].version])
    return fingerprint(["remote", *([file.name, file.version] for file in files)])


def hub_model(uri: str) -> Path:
    """The folder of a model of the Hugging Face hub, in the hub's own cache.

    Raises: SourceError if there is no such model; TransientError if the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, _, revision = uri.removeprefix("hf://").partition("@")
    if name.count("/") != 1 or not revision:
        raise SourceError(
            f"{uri!r} does not name a revision",
            rule="hub models are named hf://org/name@revision, so that a rerun gets the same bytes",
            remedy="append @ and a commit hash from the model's page",
        )
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_MODEL_FILES)))
    except (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError) as error:
        raise SourceError(
            f"{uri!r}: {type(error).__name__}",
            rule="the hub must have this model and revision, and the token may read it",
            remedy="check name and revision on the model's page, and HF_TOKEN if it is gated",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, ConnectionError) as error:
        raise TransientError(
            f"{uri!r} cannot be fetched: {type(error).__name__}",
            rule="hub models need the hub, or an earlier download in its cache",
            remedy=f"{_when_offline()}try again online, or give a folder or pkg:// URI instead",
        ) from error


class _remote:  # noqa: N801  # reads as a verb at its use
    """Tell what a remote file system raises as our own transient or permanent error."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise _nothing_there(self.uri) from error
        if isinstance(error, PermissionError):
            raise SourceError(
                f"{self.uri!r}: access denied",
                rule="the credentials in the environment must allow reading it",
                remedy="check AWS_* variables or the hub token",
            ) from error
        if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            raise SourceError(
                f"{self.uri!r}: {error}",
                rule="an object store is read with the credentials in the environment",
                remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            ) from error
        if isinstance(error, Exception) and says_no_room(error):
            raise no_room(
                f"no room left while copying {self.uri!r}",
                rule="remote files are copied to Decant's home once",
                goes_on="the run resumes",
            ) from error
        if isinstance(error, OSError) or _no_server_answered(error):
            raise TransientError(
                f"{self.uri!r}: {type(error).__name__} while reading",
                rule="the server must answer",
                remedy=f"{_when_offline() if self.uri.startswith('hf://') else ''}try again later "
                "(what was copied completely is not copied again), or give the path of a copy "
                "instead (of a recipe's first source by --set data.sources.0.uri=PATH)",
            ) from error
        if isinstance(error, ValueError):
            raise SourceError(
                f"{self.uri!r} cannot be read: {error}",
                rule="remote files are named by a path or a glob",
                remedy="check the path; ** stands for folders, as in s3://bucket/in/**/*.csv",
            ) from error


def _when_offline() -> str:
    """The first thing to do where the hub's client was told to call nobody."""
    from huggingface_hub import is_offline_mode

    return "unset HF_HUB_OFFLINE, which keeps the hub away; " if is_offline_mode() else ""


def _no_server_answered(error: BaseException | None) -> bool:
    """Whether a client says so in a class of its own, which is none of Python's own."""
    if type(error).__module__ == "botocore.exceptions":
        return True
    return any(
        kind.__module__.startswith("httpx") and kind.__name__ == "TransportError"
        for kind in type(error).__mro__
    )


def _nothing_there(uri: str) -> SourceError:
    return SourceError(
        f"{uri!r}: nothing there",
        rule="sources and models are existing files, folders or globs",
        remedy="check the name, upper and lower case included",
    )
