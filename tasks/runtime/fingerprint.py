"""Stable fingerprints: values → canonical JSON → SHA-256.

Two configurations have one fingerprint exactly when they define the same result, on any machine and
in any process. So the encoder refuses whatever has no stable form (sets, paths, objects, NaN)
instead of guessing: a guess shows up months later as a stale cache hit.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

_READ_BYTES = 1 << 20


def jsonable(value: object) -> Any:
    """Reduce `value` to JSON types, refusing whatever has no stable form.

    Raises: TypeError for sets, paths, bytes and arbitrary objects; ValueError for NaN and infinity.
    """
    if isinstance(value, BaseModel):
        return jsonable(value.model_dump(mode="python"))
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no stable form: give a finite number")
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"mapping key {key!r} is not a string: its order is not stable")
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    raise TypeError(
        f"{type(value).__name__} has no stable form: use strings, numbers, lists or mappings"
    )


def canonical_json(value: object) -> str:
    """The one JSON text of `value`: keys sorted, no spaces, UTF-8 kept."""
    return json.dumps(
        jsonable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(value: object) -> str:
    """SHA-256 of the canonical JSON of `value`, 64 hex characters."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex characters, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def content_digest(entries: Iterable[tuple[str, str]]) -> str:
    """Digest of a set of files from their (POSIX path, SHA-256) pairs, in path order."""
    return fingerprint([[path, sha256] for path, sha256 in sorted(entries)])
