"""Parts of the pipeline: one step with those that it needs, and no other.

    steps_to(recipe, "student-seed-0")  →  corpus, teacher-tokens, student-tokens, teacher, ...

Read off `flows.pipeline.run_steps`, so a step added there is here too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from data_contracts.artifacts import Artifact
from flows.orchestration.runner import Call, Listener
from flows.pipeline import run_steps
from flows.recipe.base import RecipeBase
from flows.runs.pointers import RunLog, RunningRun
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.fingerprint import fingerprint
from tasks.runtime.stages import Stage, StageConfig, run_stage


@dataclass(frozen=True)
class Node:
    """A step of a pipeline, not run: what it is, and the steps whose artifacts it reads."""

    name: str
    stage: Stage
    config: StageConfig
    inputs: Mapping[str, Node]

    def needs(self) -> Iterator[Node]:
        """The steps before this one that it depends on, each once, in an order that works."""
        seen: set[str] = set()
        for node in self.inputs.values():
            for one in (*node.needs(), node):
                if one.name not in seen:
                    seen.add(one.name)
                    yield one


def step_of(recipe: RecipeBase, name: str) -> Node:
    """The step `name` of the pipeline of `recipe`, with all that it needs.

    Raises: KeyError if the recipe has no such step.
    """
    nodes: dict[str, Node] = {}

    def write_down(name: str, stage: Stage, config: StageConfig, /, **inputs: Node) -> Node:
        nodes[name] = Node(name, stage, config, inputs)
        return nodes[name]

    run_steps(recipe, write_down)
    return nodes[name]


class Preparations:
    """Builds steps on demand, each once: what the store has is taken and verified once."""

    def __init__(
        self,
        store: ArtifactStore,
        log: RunLog,
        listener: Listener,
        call: Call,
        *,
        run_id: str,
        workers: int,
        running: RunningRun | None = None,
    ) -> None:
        """Run steps with `call`, telling `listener` and remembering in `log`.

        Args:
            running: is told which step it is at, so that a failure is told as that step's: whoever
                goes on after one says where.
        """
        self._store, self._log, self._listener, self._call = store, log, listener, call
        self._run_id, self._workers = run_id, workers
        self.running = running or RunningRun(run_id)
        self._known: dict[str, Artifact] = {}

    def inputs_of(self, node: Node) -> dict[str, Artifact]:
        """The artifacts that step `node` reads."""
        return {key: self.artifact(needed) for key, needed in node.inputs.items()}

    def artifact(self, node: Node) -> Artifact:
        """The artifact of step `node`, built with all that it needs unless it is known."""
        inputs = self.inputs_of(node)
        digests = {key: artifact.key for key, artifact in inputs.items()}
        known = fingerprint([node.name, node.stage.name, node.config, digests])
        if known not in self._known:
            self._known[known] = self._run(node, inputs)
        return self._known[known]

    def _run(self, node: Node, inputs: Mapping[str, Artifact]) -> Artifact:
        started = time.monotonic()
        asked_by, self.running.step = self.running.step, node.name
        try:
            outcome = self._call(
                node.name,
                node.stage,
                node.config,
                inputs,
                store=self._store,
                progress=self._listener.step_started(node.name),
                workers=self._workers,
                force=False,
                run_id=self._run_id,
                run=run_stage,
            )
        except BaseException:
            self._listener.step_left(node.name)
            raise
        seconds = time.monotonic() - started
        self._log.write_step(self._run_id, node.name, outcome, seconds)
        self._listener.step_finished(node.name, outcome, seconds)
        self.running.step = asked_by
        return outcome.artifact
