"""What a step of a pipeline is to whoever walks it: the one thing that all readings agree on."""

from __future__ import annotations

from typing import Protocol, TypeVar

from tasks.runtime.stages import Stage, StageConfig

Handle = TypeVar("Handle")


class Step(Protocol[Handle]):
    """What a step means: runs it, looks it up, or writes its name down."""

    def __call__(self, name: str, stage: Stage, config: StageConfig, /, **inputs: Handle) -> Handle:
        """Give the handle of step `name`: `stage` with `config` on the handles of its inputs."""
        ...
