"""Planner: what a run would do and why, from look-ups alone.

A step is cached if the artifact of its key is in the store and verifies. Otherwise the plan says
which part of the key differs from what the step last used (`runs.py` remembers that), or which step
before it will run. A step after one that runs may still turn out cached: keys are made of content,
so an upstream that comes out with the same bytes changes nothing; the plan cannot know that yet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_contracts.artifacts import Artifact, KeyParts
from data_contracts.errors import CorruptArtifact
from flows.pipeline import run_steps
from flows.recipe.base import RecipeBase
from flows.runs.pointers import RunLog, StepRecord
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.fingerprint import jsonable
from tasks.runtime.stages import Stage, StageConfig, key_parts

_MAX_REASONS = 4
_MAX_NAMES = 2
_MAX_VALUE_CHARS = 60


@dataclass(frozen=True)
class PlannedStep:
    """One step of a plan; `artifact` is there when it is cached, `reasons` when it would run."""

    name: str
    artifact: Artifact | None
    reasons: tuple[str, ...] = ()

    @property
    def cached(self) -> bool:
        """Whether a run would find this step's artifact in the store."""
        return self.artifact is not None


class Planner:
    """The meaning of a step when nothing is run."""

    def __init__(self, store: ArtifactStore, log: RunLog) -> None:
        """Look up in `store`, and compare with what `log` remembers."""
        self._store = store
        self._log = log
        self.steps: list[PlannedStep] = []

    def __call__(
        self, name: str, stage: Stage, config: StageConfig, /, **inputs: PlannedStep
    ) -> PlannedStep:
        """Look step `name` up."""
        planned = self._plan(name, stage, config, inputs)
        self.steps.append(planned)
        return planned

    def _plan(
        self, name: str, stage: Stage, config: StageConfig, inputs: Mapping[str, PlannedStep]
    ) -> PlannedStep:
        last = self._log.step(name)
        artifacts = {key: step.artifact for key, step in inputs.items() if step.artifact}
        parts = key_parts(stage, config, artifacts)
        will_run = [step.name for step in inputs.values() if not step.cached]
        if not will_run:
            try:
                artifact = self._store.lookup(parts)
            except CorruptArtifact as error:
                return PlannedStep(name, None, (error.fact,))
            if artifact and (stage.still_holds is None or stage.still_holds(artifact)):
                return PlannedStep(name, artifact)
            if artifact:
                return PlannedStep(name, None, ("its result no longer stands in the registry",))
        if last is None:
            return PlannedStep(name, None, ("never built",))
        reasons = [f"{_few(will_run)} will run"] if will_run else []
        changes = explain(last.key_parts, parts, jsonable(config), unknown=will_run_inputs(inputs))
        if not changes and not reasons:
            changes = [_vanished(last)]
        if len(changes) > _MAX_REASONS:
            hidden = len(changes) - _MAX_REASONS
            changes = [*changes[:_MAX_REASONS], f"and {hidden} more changes"]
        return PlannedStep(name, None, (*reasons, *changes))


def _few(names: list[str]) -> str:
    if len(names) <= _MAX_NAMES:
        return " and ".join(names)
    return f"{', '.join(names[:_MAX_NAMES])} and {len(names) - _MAX_NAMES} more"


def will_run_inputs(inputs: Mapping[str, PlannedStep]) -> frozenset[str]:
    """Names of the inputs whose content is not known before they run."""
    return frozenset(key for key, step in inputs.items() if not step.cached)


def _vanished(last: StepRecord) -> str:
    return f"its artifact {last.key[:12]} is no longer in the store"


def explain(
    old: KeyParts, new: KeyParts, config: Any, *, unknown: frozenset[str] = frozenset()
) -> list[str]:
    """Which parts of a key changed, in words.

    Args:
        old, new: the key parts to compare.
        config: the new configuration as JSON values, with URIs still in place of content digests.
        unknown: inputs to leave out, because their content is not known yet.
    """
    changes = []
    if old.version != new.version:
        changes.append(f"stage version {old.version} → {new.version}")
    if old.score_version != new.score_version:
        versions = f"{old.score_version} → {new.score_version}"
        changes.append(f"version of the problem's validation figures {versions}")
    for name in sorted((old.upstream.keys() | new.upstream.keys()) - unknown):
        if name not in old.upstream:
            changes.append(f"input {name} is new")
        elif name not in new.upstream:
            changes.append(f"input {name} is gone")
        elif old.upstream[name] != new.upstream[name]:
            changes.append(f"content of input {name} changed")
    before, after = dict(_leaves(old.config)), dict(_leaves(new.config))
    names = dict(_leaves(config))
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) == after.get(path) and (path in before) == (path in after):
            continue
        if path not in before:
            changes.append(f"config.{path} is new: {_shown(names.get(path, after[path]))}")
        elif path not in after:
            changes.append(f"config.{path} is gone (was {_shown(before[path])})")
        elif _is_content(before[path]) and _is_content(after[path]):
            changes.append(f"content of {names.get(path, path)} changed")
        else:
            value = names.get(path, after[path])
            changes.append(f"config.{path} {_shown(before[path])} → {_shown(value)}")
    return changes


def _is_content(value: object) -> bool:
    return isinstance(value, str) and value.startswith("content:")


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """(dotted path, scalar) of everything below `value`; empty containers count as scalars."""
    if isinstance(value, dict) and value:
        items = value.items()
    elif isinstance(value, list) and value:
        items = ((str(index), item) for index, item in enumerate(value))
    else:
        return [(path, value)]
    found: list[tuple[str, Any]] = []
    for key, item in items:
        found += _leaves(item, f"{path}.{key}" if path else key)
    return found


def _shown(value: object) -> str:
    if _is_content(value):
        return "another file"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[: _MAX_VALUE_CHARS - 1]}…"


def plan(recipe: RecipeBase, store: ArtifactStore) -> list[PlannedStep]:
    """What a run of `recipe` would do, step by step.

    Raises: SourceError if a source or model of the recipe cannot be found.
    """
    planner = Planner(store, RunLog(store.root, recipe.name))
    run_steps(recipe, planner)
    return planner.steps
