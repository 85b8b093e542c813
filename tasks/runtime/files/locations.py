"""URIs of models and sources: where they lie on this machine, and a digest of what they hold.

    data.csv, /path/data.parquet, file:///path   local file, folder or glob
    pkg://python_package/path/inside             files shipped in an installed package (offline)
    hf://org/name@revision                       a model of the Hugging Face hub
    hf://datasets/org/name@revision/file         a file or glob of a data set there
    s3://bucket/path                             object store (fsspec), file or glob

Keys are made of the digest, never of the path: the same bytes elsewhere are the same input. Remote
files are copied once to this machine and read there (remote_files.py).
"""

from __future__ import annotations

import glob
import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from data_contracts.errors import SourceError
from tasks.runtime.files.listings import listed
from tasks.runtime.files.remote_files import hub_model, is_bookkeeping, remote_copies, remote_digest
from tasks.runtime.fingerprint import content_digest, file_digest, fingerprint

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SCHEMES = ("file", "pkg", "hf", "s3")
# What the hub calls a model or data set, unlike a file of data; or the tokenizer of that model.
_ON_HUB = re.compile(
    r"^(?P<owner>[A-Za-z0-9][\w.-]*)/(?![^/]*\.(csv|tsv|jsonl?|parquet|conll|txt|gz)(/|$))"
    r"(?P<name>[\w.-]+)(/tokenizer\.json)?$"
)


def home() -> Path:
    """Decant's own folder: `$DECANT_HOME`, by default `.decant` in the working directory."""
    # Set to nothing it is not set: the working directory holds other things than ours.
    return Path(os.environ.get("DECANT_HOME") or ".decant").absolute()


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
        with _read_of(uri):
            return _files_digest(listed(uri, lambda: _local_files(uri)))
    if kind == "hf" and not uri.startswith("hf://datasets/"):
        return fingerprint(["hf", *hub_model(uri).parts[-3:]])
    return remote_digest(uri)


def local_files(uri: str) -> list[Path]:
    """The files behind `uri`, sorted by name, on this machine; remote ones are copied here first.

    Of a folder those for bookkeeping are left out, such as `.cache` and `.ipynb_checkpoints`.

    Raises: SourceError if nothing is there or it cannot be read; TransientError if the server
        cannot be reached, or a file changed while it was copied.
    """
    if scheme(uri) in ("file", "pkg"):
        with _read_of(uri):
            return listed(uri, lambda: _local_files(uri))
    return remote_copies(uri, home() / "downloads")


def local_folder(uri: str) -> Path:
    """The folder of a model on this machine.

    Raises: SourceError if it is not there or is no folder.
    """
    kind = scheme(uri)
    if kind == "hf":
        return hub_model(uri)
    if kind == "s3":
        copies = local_files(uri.rstrip("/") + "/")
        return Path(os.path.commonpath([copy.parent for copy in copies]))
    with _read_of(uri):
        folder = _local_path(uri)
        if not folder.is_dir():
            raise _missing(uri, _not_here(uri, folder, wants_folder=True))
    return folder


def model_file_here(uri: str, name: str) -> Path | None:
    """File `name` of a model, if it is on this machine already; nothing is fetched."""
    try:
        kind = scheme(uri)
        if kind in ("file", "pkg"):
            with _read_of(uri):
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
        files = [path]
    elif path.is_dir():
        files = _files_below(path)
    else:
        files = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
    files = sorted(file for file in files if file.is_file())
    if not files:
        raise _missing(uri, _not_here(uri, path, wants_folder=False))
    for file in files:
        if not os.access(file, os.R_OK):
            raise PermissionError(f"no permission to read {str(file)!r}")
    return files


def _files_below(folder: Path) -> list[Path]:
    """All below `folder` but what lies in a folder for bookkeeping.

    Raises: OSError for a folder that cannot be listed: its rows would be left out in silence.
    """

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not is_bookkeeping(name)]
        found += [Path(place, name) for name in names]
    return found


@contextmanager
def _read_of(uri: str) -> Iterator[None]:
    """Tell why what lies on this machine cannot be read as the user's mistake."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # such as ~name of nobody, file://[
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise SourceError(
            f"{uri!r} cannot be read: {reason}",
            rule="sources and models are files and folders that this user may read",
            remedy="check the path and its permissions",
        ) from error


def _files_digest(files: list[Path]) -> str:
    if len(files) == 1:
        return file_digest(files[0])
    folder = Path(os.path.commonpath([file.parent for file in files]))
    return content_digest(
        (file.relative_to(folder).as_posix(), file_digest(file)) for file in files
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
