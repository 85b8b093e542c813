"""URIs of models and sources: where they lie on this machine, and a digest of what they hold.

    data.csv, /path/data.parquet, file:///path   local file, folder or glob
    pkg://python_package/path/inside             files shipped in an installed package (offline)
    hf://org/name@revision                       a model of the Hugging Face hub
    hf://datasets/org/name@revision/file         a file or glob of a data set there
    s3://bucket/path                             object store (fsspec), file or glob

Keys are made of the digest, never of the path: the same bytes elsewhere are the same input. Remote
files are copied once to `<home>/downloads/<digest>/` and read from there.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import posixpath
import re
import uuid
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from data_contracts.errors import MachineExhausted, SourceError, TransientError
from tasks.runtime.fingerprint import content_digest, file_digest, fingerprint
from tasks.runtime.full_disk import says_no_room

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SCHEMES = ("file", "pkg", "hf", "s3")
# What the hub calls a model or data set, unlike a file of data; or the tokenizer of that model.
_ON_HUB = re.compile(
    r"^(?P<owner>[A-Za-z0-9][\w.-]*)/(?![^/]*\.(csv|tsv|jsonl?|parquet|conll|txt|gz)(/|$))"
    r"(?P<name>[\w.-]+)(/tokenizer\.json)?$"
)
# What a model folder may consist of: no pickles, no Python files.
_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


def home() -> Path:
    """Decant's own folder: `$DECANT_HOME`, by default `.decant` in the working directory."""
    return Path(os.environ.get("DECANT_HOME", ".decant")).absolute()


def scheme(uri: str) -> str:
    """The scheme of `uri`, `file` for plain paths.

    Raises: SourceError for a scheme that Decant does not read.
    """
    match = _SCHEME.match(uri)
    name = match[1].lower() if match else "file"
    if name not in _SCHEMES:
        raise SourceError(
            f"{uri!r} has the scheme {name!r}",
            rule=f"sources and models are read from {', '.join(_SCHEMES)} or a plain path",
            remedy="copy the data to one of these, or mount it as a folder",
        )
    return name


def location_digest(uri: str) -> str:
    """Digest of the content behind `uri`, 64 hex characters, independent of where it lies.

    Local and package files are read (about 1 GB/s); remote ones are known by ETag or commit.

    Raises: SourceError if nothing is there; TransientError if the server cannot be reached.
    """
    kind = scheme(uri)
    if kind in ("file", "pkg"):
        return _files_digest(_local_files(uri))
    if kind == "hf" and not uri.startswith("hf://datasets/"):
        return fingerprint(["hf", *_hub_model(uri).parts[-3:]])
    return _remote_digest(_remote_files(uri)[1])


def local_files(uri: str) -> list[Path]:
    """The files behind `uri`, sorted by name, on this machine; remote ones are copied here first.

    Raises: SourceError if nothing is there; TransientError if the server cannot be reached.
    """
    if scheme(uri) in ("file", "pkg"):
        return _local_files(uri)
    filesystem, files = _remote_files(uri)
    folder = home() / "downloads" / _remote_digest(files)
    copies = []
    for file in files:
        copy = folder / file.name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            partial = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}")
            with _remote(uri):
                filesystem.get_file(file.path, str(partial))
            partial.replace(copy)
        copies.append(copy)
    return copies


def local_folder(uri: str) -> Path:
    """The folder of a model on this machine.

    Raises: SourceError if it is not there or is no folder.
    """
    kind = scheme(uri)
    if kind == "hf":
        return _hub_model(uri)
    if kind == "s3":
        copies = local_files(uri.rstrip("/") + "/")
        return Path(os.path.commonpath([copy.parent for copy in copies]))
    folder = _local_path(uri)
    if not folder.is_dir():
        raise _missing(uri, _not_here(uri, folder, wants_folder=True))
    return folder


def model_file_here(uri: str, name: str) -> Path | None:
    """File `name` of a model, if it is on this machine already; nothing is fetched."""
    try:
        kind = scheme(uri)
        if kind in ("file", "pkg"):
            path = _local_path(uri) / name
            return path if path.is_file() else None
    except SourceError:  # told when the model itself is looked for
        return None
    if kind != "hf":
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    model, _, revision = uri.removeprefix("hf://").partition("@")
    if model.count("/") != 1 or not revision:
        return None
    try:
        found = try_to_load_from_cache(model, name, revision=revision)
    except HFValidationError:  # no name that the hub gives
        return None
    return Path(found) if isinstance(found, str) else None  # or a mark that it is not there


def _local_path(uri: str) -> Path:
    if scheme(uri) == "pkg":
        package, _, inside = uri.removeprefix("pkg://").partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise SourceError(
                f"{uri!r}: the Python package {package!r} is not installed",
                rule="pkg://package/path names files inside an installed package",
                remedy=f"install it, for example: pip install {package.replace('_', '-')}",
            )
        return Path(spec.submodule_search_locations[0]) / inside
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    return Path(uri).expanduser()


def _local_files(uri: str) -> list[Path]:
    path = _local_path(uri)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
        # Byte code is written by whichever Python imported the package: it is not content.
        files = [file for file in files if "__pycache__" not in file.parts]
    else:
        files = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
        files = [file for file in files if file.is_file()]
    if not files:
        raise _missing(uri, _not_here(uri, path, wants_folder=False))
    return sorted(files)


def _files_digest(files: list[Path]) -> str:
    if len(files) == 1:
        return file_digest(files[0])
    folder = Path(os.path.commonpath([file.parent for file in files]))
    return content_digest(
        (file.relative_to(folder).as_posix(), file_digest(file)) for file in files
    )


def _hub_model(uri: str) -> Path:
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


class _RemoteFile(NamedTuple):
    """A remote file: where it lies, its name below what the URI covers, and its content's mark."""

    path: str
    name: str
    version: str


def _remote_files(uri: str) -> tuple[Any, list[_RemoteFile]]:
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
    paths = sorted(p for p, info in infos.items() if info["type"] == "file" and p[-1] != "/")
    if not paths:
        raise _missing(uri, f"{uri!r}: nothing there")
    folder = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    files = []
    for path in paths:
        name = posixpath.relpath(path, folder)
        if ".." in name.split("/") or ".." in path.split("/"):
            raise SourceError(
                f"{uri!r} holds the object {path!r}",
                rule="names of objects may not climb out of their folder",
                remedy="rename or leave out that object",
            )
        files.append(_RemoteFile(path, name, _version(uri, infos[path])))
    return filesystem, files


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


def _remote_digest(files: list[_RemoteFile]) -> str:
    if len(files) == 1:
        return fingerprint(["remote", files[0].version])
    return fingerprint(["remote", *([file.name, file.version] for file in files)])


class _remote:  # noqa: N801  # reads as a verb at its use
    """Tell what a remote file system raises as our own transient or permanent error."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise _missing(self.uri, f"{self.uri!r}: nothing there") from error
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
            raise MachineExhausted(
                f"no room left while copying {self.uri!r}",
                rule="remote files are copied to Decant's home once",
                remedy="free space, or set DECANT_HOME to a larger disk; the run resumes",
            ) from error
        if isinstance(error, OSError) or _no_server_answered(error):
            raise TransientError(
                f"{self.uri!r}: {type(error).__name__} while reading",
                rule="the server must answer",
                remedy=f"{_when_offline() if self.uri.startswith('hf://') else ''}try again later; "
                "what was copied completely is not copied again",
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


def _not_here(uri: str, path: Path, *, wants_folder: bool) -> str:
    """That there is no file or folder at `path`, with the URI if that is another text."""
    if wants_folder and path.exists():
        place = f"{str(path)!r} is not a folder"
    else:
        place = f"no {'folder' if wants_folder else 'file'} at {str(path)!r}"
    return place if Path(uri).expanduser() == path else f"{uri!r}: {place}"


def _missing(uri: str, fact: str) -> SourceError:
    remedy = "check the path; relative paths start at the working directory"
    if (named := _ON_HUB.match(uri)) and not Path(named["owner"]).exists():
        name = f"{named['owner']}/{named['name']}"
        remedy += (
            f"; what the Hugging Face hub calls {name} is named hf://datasets/{name}@revision/file "
            f"if it is a data set, hf://{name}@revision if it is a model"
        )
    return SourceError(
        fact, rule="sources and models are existing files, folders or globs", remedy=remedy
    )
