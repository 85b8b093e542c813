"""Stages in child processes, side by side: same path, same bits, errors come through whole.

    caller's thread ─► hit? artifact
         └─ miss ─► child: run_stage ─► progress…, then outcome or error, through a pipe

Children are forked from one helper process that has imported what they need and computes nothing
(multiprocessing's fork server): importing torch and transformers takes seconds, a fork some 20 ms.
Who knows beforehand that children will be needed starts the helper while other work is done.
Each stage gets a fresh child, so memory goes back when it ends and a killed one takes no other
along. A child ends itself when the pipe to its parent breaks, so `kill -9` of the parent leaves
nobody behind who holds a lock; SIGTERM lets training save its checkpoint first.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from data_contracts.artifacts import Artifact
from data_contracts.errors import DecantError, MachineExhausted, Preempted
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.progress import Progress, SilentProgress
from tasks.runtime.stages import Stage, StageConfig, StageOutcome, find, run_stage

# A checkpoint is written within a second or two; who takes longer is stuck.
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.5


def start_helper(preload: Sequence[str]) -> None:
    """Start the process that children are forked from, unless it is there; returns at once.

    Args:
        preload: modules that it imports, meanwhile, once for all children.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(preload))
    # Ctrl-C reaches the whole process group: in the middle of an import it would end in a traceback
    # of somebody else's. The mask is inherited; children are told to stop by SIGTERM.
    resource_tracker.ensure_running()  # which would clear the mask when it starts
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Children:
    """The child processes of one run."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        """Nothing is started before the first miss.

        Args:
            preload: modules that the helper process imports once for all children.
        """
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        # multiprocessing reaps all children at each start: one thread at a time.
        self._lock = threading.Lock()
        self._running: set[ForkServerProcess] = set()
        self._stopped_at: float | None = None

    def run_stage(
        self,
        stage: Stage,
        config: StageConfig,
        inputs: Mapping[str, Artifact],
        *,
        store: ArtifactStore,
        progress: Progress | None = None,
        workers: int = 1,
        force: bool = False,
        run_id: str = "",
    ) -> StageOutcome:
        """As `tasks.runtime.stages.run_stage`, in a child process unless it is a hit.

        May be called from several threads at once.

        Raises: what the stage raises; Preempted if `stop` was called; MachineExhausted if the
            child was killed, which on a machine without memory the kernel does.
        """
        progress = progress or SilentProgress()
        if not force and (outcome := find(stage, config, inputs, store=store, progress=progress)):
            return outcome
        ours, theirs = self._context.Pipe()
        child = self._context.Process(
            target=_run,
            args=(theirs, stage, config, dict(inputs), store.root, workers, force, run_id),
            name=stage.name,
            daemon=True,
        )
        with ours:
            with self._lock:
                if self._stopped_at is not None:
                    raise _preempted(stage)
                child.start()
                self._running.add(child)
            theirs.close()
            try:
                answer = self._listen(ours, child, progress)
            finally:
                self._end(child)
        if answer is None:
            raise self._death(stage, child)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def stop(self) -> None:
        """Ask all children to save their checkpoints and end, and start no more."""
        self._stopped_at = time.monotonic()
        for child in list(self._running):
            _signal(child, signal.SIGTERM)

    def _listen(
        self, pipe: Connection, child: ForkServerProcess, progress: Progress
    ) -> StageOutcome | BaseException | None:
        """Pass progress on until the child gives its outcome, its error, or (None) is gone."""
        while True:
            while not pipe.poll(_POLL_SECONDS):
                if self._stopped_at and time.monotonic() - self._stopped_at > _STOP_SECONDS:
                    _signal(child, signal.SIGKILL)
            try:
                kind, content = pipe.recv()
            except (EOFError, ConnectionError):
                return None
            if kind == "answer":
                return content
            method, arguments, named = content
            getattr(progress, method)(*arguments, **named)

    def _end(self, child: ForkServerProcess) -> None:
        """Reap `child`; one that is still at work (its listener failed) is told to clean up."""
        deadline = time.monotonic() + _STOP_SECONDS
        with self._lock:
            child.join(_POLL_SECONDS)
        if child.is_alive():
            _signal(child, signal.SIGTERM)
        while child.is_alive() and time.monotonic() < deadline:
            with self._lock:
                child.join(_POLL_SECONDS / 10)
        with self._lock:
            child.kill()
            child.join()
            self._running.discard(child)

    def _death(self, stage: Stage, child: ForkServerProcess) -> Exception:
        if self._stopped_at is not None:
            return _preempted(stage)
        if child.exitcode == -signal.SIGKILL:
            return MachineExhausted(
                f"the process of stage {stage.name} was killed",
                rule="steps that run side by side share the memory of this machine",
                remedy="run again with fewer --workers: it resumes at the last checkpoint",
            )
        return RuntimeError(f"the process of stage {stage.name} ended with {child.exitcode}")


def _signal(child: ForkServerProcess, number: signal.Signals) -> None:
    assert child.pid is not None, "only started children are signalled"
    with suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(child.pid, number)


def _preempted(stage: Stage) -> Preempted:
    return Preempted(
        f"stage {stage.name} was stopped",
        remedy="run the same command again: it resumes at the last checkpoint",
    )


class _PipeProgress:
    """Sends what a stage reports to the parent."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def start(self, description: str, *, total: int, unit: str) -> None:
        self._send("start", (description,), {"total": total, "unit": unit})

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        self._send("advance", (amount,), {"note": note})

    def say(self, message: str) -> None:
        self._send("say", (message,), {})

    def validated(self, number: int, figures: dict[str, float]) -> None:
        self._send("validated", (number, figures), {})

    def _send(self, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._pipe.send(("progress", (method, arguments, named)))


def _run(
    pipe: Connection,
    stage: Stage,
    config: StageConfig,
    inputs: Mapping[str, Artifact],
    root: Path,
    workers: int,
    force: bool,
    run_id: str,
) -> None:
    """What a child does."""
    # Ctrl-C reaches the whole process group; the parent decides, and says SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    answer: StageOutcome | BaseException
    try:
        answer = run_stage(
            stage,
            config,
            inputs,
            store=ArtifactStore(root),
            progress=_PipeProgress(pipe),
            workers=workers,
            force=force,
            run_id=run_id,
        )
    except BaseException as error:
        answer = _portable(error)
    pipe.send(("answer", answer))


def _end_with_parent(pipe: Connection) -> None:
    """The parent never writes: reading ends only when it is gone."""
    try:
        pipe.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """`error` if every process can rebuild it, otherwise its words; a defect with its traceback."""
    if isinstance(error, DecantError):
        return error
    told = traceback.format_exc()
    if type(error).__module__ != "builtins":
        return RuntimeError(told)
    error.add_note(f"in a child process:\n{told}")
    return error
