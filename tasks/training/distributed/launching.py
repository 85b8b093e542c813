"""A training stage in several processes: torchrun runs the stage's own function once a rank.

    distill(config, inputs, workspace)
        └─ run_in_ranks ─► job.json ─► torchrun ─► ranks.py: distill(…) in rank 0, 1, …
                           ◄─ progress, summary or error ──┘  rank 0 writes the artifact

The number of processes defines no result (sums are rounded in another order, as with threads), so
it is no part of a recipe: by default one a GPU, and one where there is none. Ranks end when this
process does, however it ends; SIGTERM makes them save a checkpoint first.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from data_contracts import errors
from data_contracts.artifacts import Artifact, Frozen, StageSummary
from data_contracts.errors import DecantError, Preempted
from tasks.runtime.locks import exclusive_lock
from tasks.runtime.machine.device import thread_count
from tasks.runtime.progress import Progress
from tasks.runtime.stages import Workspace

TORCHRUN_ARGUMENTS = "DECANT_TORCHRUN_ARGUMENTS"
_SHOWN_LOG_CHARS = 4000


class Job(Frozen):
    """What a rank is to run, as `job.json` in the stage's work directory."""

    module: str
    function: str
    config: dict[str, Any]
    inputs: dict[str, Artifact]
    output: Path
    work: Path
    root: Path
    force: bool
    run_id: str = ""

    @property
    def parent_lock(self) -> Path:
        """Locked while the launching process lives."""
        return self.work / "parent.lock"

    @property
    def summary(self) -> Path:
        """What rank 0 leaves at the end."""
        return self.work / "summary.json"

    def error(self, rank: int | str) -> Path:
        """What a rank leaves when it fails."""
        return self.work / f"error-{rank}.json"


def run_in_ranks(
    function: str,
    config: BaseModel,
    inputs: Mapping[str, Artifact],
    workspace: Workspace,
    *,
    processes: int,
) -> StageSummary:
    """Run a stage's function in `processes` processes of this machine.

    Args:
        function: `module:name` of the stage's function; the module has its `Config`.
        processes: ranks on this machine. Further machines join through the torchrun arguments in
            DECANT_TORCHRUN_ARGUMENTS (see infra/k8s/training.yaml).
    Raises: what the function raises in a rank; Preempted if SIGTERM came.
    """
    module, _, name = function.partition(":")
    job = Job(
        module=module,
        function=name,
        config=config.model_dump(mode="json"),
        inputs=dict(inputs),
        output=workspace.output,
        work=workspace.work,
        root=workspace.store.root,
        force=workspace.force,
        run_id=workspace.run_id,
    )
    for left in (job.summary, *job.work.glob("error-*.json")):
        left.unlink(missing_ok=True)
    file = job.work / "job.json"
    file.write_text(job.model_dump_json(), encoding="utf-8")
    threads = max(1, thread_count() // processes)
    log = job.work / "ranks.log"
    with exclusive_lock(job.parent_lock), log.open("wb") as stderr:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run"),
                *_rendezvous(),
                *("--nproc-per-node", str(processes)),
                *("-m", "tasks.training.distributed.ranks", str(file)),
            ],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            text=True,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end them in order
        )
        with _ending(process) as stopped:
            _relay(process, workspace.progress)
            code = process.wait()
    if code == 0 and job.summary.is_file():
        return StageSummary.model_validate_json(job.summary.read_bytes())
    raise _failure(job, stopped=bool(stopped), log=log)


def _rendezvous() -> list[str]:
    given = os.environ.get(TORCHRUN_ARGUMENTS, "")
    return shlex.split(given) if given else ["--standalone"]


def _relay(process: subprocess.Popen[str], progress: Progress) -> None:
    """Pass on what rank 0 reports; other lines on stdout are nobody's."""
    assert process.stdout is not None, "stdout is a pipe"
    for line in process.stdout:
        try:
            method, arguments, named = json.loads(line)["progress"]
        except (ValueError, KeyError, TypeError):
            continue
        getattr(progress, method)(*arguments, **named)


@contextmanager
def _ending(process: subprocess.Popen[str]) -> Iterator[list[int]]:
    """End the ranks whenever the block ends; on SIGTERM they save a checkpoint first."""
    stopped: list[int] = []

    def stop(number: int, _: object) -> None:
        stopped.append(number)
        process.terminate()

    is_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, stop) if is_main else None
    try:
        yield stopped
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()
        if is_main:
            signal.signal(signal.SIGTERM, previous)


def _failure(job: Job, *, stopped: bool, log: Path) -> Exception:
    found = [json.loads(path.read_text("utf-8")) for path in sorted(job.work.glob("error-*.json"))]
    # The rank that failed by itself is told rather than those that lost their peer.
    for told in sorted(found, key=lambda told: told["kind"] == "Preempted"):
        kind = getattr(errors, told["kind"], None)
        if isinstance(kind, type) and issubclass(kind, DecantError):
            return kind(told["fact"], rule=told["rule"], remedy=told["remedy"])
    if stopped:
        return Preempted(
            "a signal stopped training", remedy="run the same command again: it resumes"
        )
    tail = log.read_text(encoding="utf-8", errors="replace")[-_SHOWN_LOG_CHARS:]
    words = "\n".join(told["fact"] for told in found)
    return RuntimeError(f"a rank failed: {words}\n{tail}")
