"""The small typed handles that stages hand on instead of tables and models.

A `Manifest` is the last file written into an artifact's directory, so its existence means that the
rest is complete. An `Artifact` is what a stage receives: the directory and its verified manifest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

THRESHOLDS_FILE = "thresholds.json"
"""What decides beside the largest logit, in the folder of a model and of what a teacher said."""


class Frozen(BaseModel):
    """Base of every record here: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WithLaterFields(Frozen):
    """A record whose JSON is part of keys, with fields that older releases did not have.

    They are written only where they are not at their default: what does not use them has the keys
    it had before they were there.
    """

    later_fields: ClassVar[tuple[str, ...]]

    @model_serializer(mode="wrap")
    def _without_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        unused = {name for name in self.later_fields if getattr(self, name) == fields[name].default}
        return {name: value for name, value in serialize(self).items() if name not in unused}


class RowCounts(Frozen):
    """The row equation of a data stage: nothing is lost without a reason.

    `rows_in = rows_out + sum(quarantined) + sum(deduplicated)` holds on construction, in rows.
    """

    rows_in: int = Field(ge=0, description="rows read from the sources or from upstream")
    rows_out: int = Field(ge=0, description="rows handed on")
    quarantined: dict[str, int] = Field(
        default_factory=dict, description="rows set aside, by reason code"
    )
    deduplicated: dict[str, int] = Field(
        default_factory=dict, description="rows dropped as copies, by kind (exact, near)"
    )

    @model_validator(mode="after")
    def _reconciles(self) -> RowCounts:
        accounted = self.rows_out + self.num_quarantined + self.num_deduplicated
        if self.rows_in != accounted:
            raise ValueError(
                f"row counts do not reconcile: {self.rows_in} in, {self.rows_out} out, "
                f"{self.num_quarantined} quarantined, {self.num_deduplicated} deduplicated"
            )
        return self

    @property
    def num_quarantined(self) -> int:
        """Rows set aside over all reason codes."""
        return sum(self.quarantined.values())

    @property
    def num_deduplicated(self) -> int:
        """Rows dropped as copies over all kinds."""
        return sum(self.deduplicated.values())


class FileEntry(Frozen):
    """One file of an artifact: POSIX path inside it, size in bytes, SHA-256 in hex."""

    path: str
    size_bytes: int = Field(ge=0)
    sha256: str


class KeyParts(WithLaterFields):
    """Everything that defines a stage's result; its canonical JSON is hashed into the key.

    `plan` compares two of these to say which part changed.
    """

    later_fields: ClassVar[tuple[str, ...]] = ("score_version",)

    stage: str
    version: int = Field(description="the stage's VERSION: bumped when its output changes")
    config: dict[str, Any] = Field(
        description="the stage's own configuration as JSON values; the URI of a model or source is "
        "replaced by `content:<digest>`, so that moving a file changes nothing"
    )
    upstream: dict[str, str] = Field(description="input name -> content digest of that artifact")
    score_version: int = Field(
        1,
        description="of the figures of the problem's validation rows, by which training chooses "
        "the step: bumped where one problem's change, and the stage's models of all others stay",
    )


class Manifest(Frozen):
    """What an artifact holds, how it was made and from what: the unit of caching and of lineage."""

    format_version: int = 1
    key: str = Field(description="SHA-256 of key_parts, hex")
    key_parts: KeyParts
    content_digest: str = Field(description="SHA-256 over the sorted (path, sha256) of all files")
    files: tuple[FileEntry, ...]
    upstream_keys: dict[str, str] = Field(description="input name -> key: lineage to walk")
    locations: dict[str, str] = Field(
        default_factory=dict, description="URI of each model or source loaded -> digest: lineage"
    )
    row_counts: RowCounts | None = None
    facts: dict[str, float | int | str] = Field(
        default_factory=dict, description="a few figures worth showing beside the stage's name"
    )
    created_at: str = Field(description="UTC, ISO 8601; not part of key or content digest")
    duration_seconds: float = Field(ge=0)
    run_id: str = Field(
        "", description="identifier of the run that built it; a retry of it is a hit"
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="versions of Python and of the packages that matter"
    )


class Artifact(Frozen):
    """A published, verified artifact: a directory and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def stage(self) -> str:
        """Name of the stage that made it."""
        return self.manifest.key_parts.stage

    @property
    def key(self) -> str:
        """Cache key, 64 hex characters."""
        return self.manifest.key

    @property
    def content_digest(self) -> str:
        """Digest of the bytes, 64 hex characters: what downstream keys are made of."""
        return self.manifest.content_digest


class StageSummary(Frozen):
    """What a stage returns beside the files it wrote."""

    row_counts: RowCounts | None = None
    facts: dict[str, float | int | str] = Field(default_factory=dict)
