"""Students that are trained on one thread: one after the other, and side by side in processes.

    .venv/bin/python -m infra.benchmarks.students [RECIPE] [--epochs 4] [--rounds 7]

Needs a finished `decant run RECIPE` (quickstart) in DECANT_HOME (.decant), and reads what that run
made; writes nothing there. Ways are interleaved; medians and ranges are printed.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from data_contracts.artifacts import Artifact
from flows.orchestration.environment import prepare_environment, quieten
from flows.orchestration.partial import Node, step_of
from flows.orchestration.processes import Job, RunStage, run_side_by_side
from flows.pipeline import small_steps
from flows.recipe.base import RecipeBase
from flows.recipe.loading.files import read_recipe
from flows.runs.pointers import RunLog
from tasks import distillation
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.locations import home
from tasks.runtime.machine.device import cpu_count
from tasks.runtime.stages import StageOutcome, run_stage


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="quickstart")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--students", type=int, default=9)
    asked = parser.parse_args()
    prepare_environment()
    quieten()
    recipe = read_recipe(asked.recipe, (f"student.training.num_epochs={asked.epochs}",))
    ways = {
        "in sequence, all threads": partial(in_sequence, on_one_thread=False),
        "in sequence, one thread": partial(in_sequence, on_one_thread=True),
        f"side by side, {asked.workers} workers": partial(side_by_side, workers=asked.workers),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                started = time.monotonic()
                way(jobs(recipe, ArtifactStore(Path(folder)))[: asked.students])
                seconds[name].append(time.monotonic() - started)
                print(f"{name:<28} {seconds[name][-1]:6.1f} s", flush=True)
    base = statistics.median(next(iter(seconds.values())))
    for name, found in seconds.items():
        median = statistics.median(found)
        print(
            f"{name:<28} median {median:6.1f} s ({min(found):.1f} to {max(found):.1f}), "
            f"{base / median:.2f} times the first"
        )


def jobs(recipe: RecipeBase, store: ArtifactStore) -> list[Job]:
    """Steps of `recipe` that train a student on one thread, to be built in `store`."""
    nodes = [step_of(recipe, name) for name in small_steps(recipe)]
    found = [node for node in nodes if node.stage is distillation.STAGE]
    if not found:
        raise SystemExit(f"no student of {recipe.name} is so small that one thread trains it")
    source = ArtifactStore(home())
    log = RunLog(source.root, recipe.name)

    def built(step: str) -> Artifact:
        record = log.step(step)
        if record is None:
            raise SystemExit(f"{home()} has no finished step {step}: decant run {recipe.name}")
        return source.open(source.root / "artifacts" / record.key_parts.stage / record.key)

    return [Job(node.name, partial(_train, node, _inputs(node, built), store)) for node in found]


def _inputs(node: Node, built: Callable[[str], Artifact]) -> dict[str, Artifact]:
    return {key: built(needed.name) for key, needed in node.inputs.items()}


def _train(
    node: Node, inputs: Mapping[str, Artifact], store: ArtifactStore, run: RunStage
) -> StageOutcome:
    return run(node.stage, node.config, inputs, store=store)


def in_sequence(todo: list[Job], *, on_one_thread: bool) -> None:
    """One after the other in this process."""
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(cpu_count())
    rule = distillation.on_one_thread
    distillation.on_one_thread = lambda config: on_one_thread
    try:
        for job in todo:
            job(run_stage)
    finally:
        distillation.on_one_thread = rule
        os.environ.pop("OMP_NUM_THREADS")
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads


def side_by_side(todo: list[Job], *, workers: int) -> None:
    """As a run does it."""
    run_side_by_side(todo, limit=workers, on_failure=print)


if __name__ == "__main__":
    main()
