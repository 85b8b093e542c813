"""Where a student comes from: every artifact behind it, from its own manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from data_contracts.artifacts import Artifact, Manifest
from tasks.runtime.artifacts import MANIFEST, ArtifactStore
from tasks.runtime.redaction import redact


def trace_lineage(inputs: Mapping[str, Artifact], store: ArtifactStore) -> dict[str, Any]:
    """Keys, digests, configurations and sources of all artifacts behind `inputs`, nearest first.

    Secrets are masked. An artifact that was collected since keeps its key in the list, without
    details: its bytes are gone, what was made of it is not.
    """
    waiting: list[tuple[str, str, Manifest | None]] = [
        (name, artifact.key, artifact.manifest) for name, artifact in inputs.items()
    ]
    entries: dict[str, dict[str, Any]] = {}
    while waiting:
        name, key, manifest = waiting.pop(0)
        if key in entries:
            continue
        entries[key] = {"name": name, "key": key, **_details(manifest)}
        if manifest is not None:
            for upstream, upstream_key in manifest.upstream_keys.items():
                waiting.append((upstream, upstream_key, _manifest(store, upstream_key)))
    return {"format_version": 1, "artifacts": list(entries.values())}


def _details(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return {"stage": "", "collected": True, "config": {}}
    return {
        "stage": manifest.key_parts.stage,
        "version": manifest.key_parts.version,
        "content_digest": manifest.content_digest,
        "created_at": manifest.created_at,
        "config": _masked(manifest.key_parts.config),
        "locations": _masked(manifest.locations),
        "upstream": dict(manifest.upstream_keys),
        "row_counts": manifest.row_counts.model_dump() if manifest.row_counts else None,
        "environment": dict(manifest.environment),
    }


def _manifest(store: ArtifactStore, key: str) -> Manifest | None:
    for path in (store.root / "artifacts").glob(f"*/{key}/{MANIFEST}"):
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except ValidationError:
            return None
    return None


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return value
