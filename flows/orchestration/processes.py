"""Steps that compute on one thread each, run side by side in child processes.

Nine small students on two cores: two at a time, one thread each, instead of one at a time with two
threads (which is only 1.3 times as fast as one thread, and slower than one whenever another program
takes a core). Each step's thread of this process waits for its child and keeps what a step knows
about its run: Prefect's context and the listener.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

from tasks.runtime.children import Children, start_helper
from tasks.runtime.stages import RunStage, run_stage

T = TypeVar("T")

# What a student's child needs: imported once, in the process that all children are forked from.
_PRELOAD = ("tasks.training.fitting.fit", "tasks.modeling.backbones.encoder", "tasks.problems")
# A signal that arrives just before a wait without end begins does not wake it: Python looks at
# signals between bytecodes, so Ctrl-C would be answered when the next student is done, hours later.
_POLL_SECONDS = 0.5


def expect_children() -> None:
    """Have what children need imported in the background, so that the first ones start at once."""
    start_helper(_PRELOAD)


@dataclass
class Job(Generic[T]):
    """A step that waits for its turn: what it does with a `run_stage`, and then what it gave."""

    name: str
    function: Callable[[RunStage], T]
    given: T | None = None

    def __call__(self, run: RunStage) -> None:
        """Do it."""
        self.given = self.function(run)


def run_side_by_side(jobs: list[Job[T]], *, limit: int, on_failure: Callable[[str], None]) -> None:
    """Run all `jobs`, at most `limit` at once, each in a child process; one alone runs here.

    The first failure ends the others: they save a checkpoint, and the next run resumes them.

    Args:
        on_failure: told the name of the job that failed first, or at Ctrl-C of one at work.
    Raises: what that job raised; Preempted if this process was told SIGTERM.
    """
    if len(jobs) == 1 or limit == 1:
        for job in jobs:
            try:
                job(run_stage)
            except BaseException:
                on_failure(job.name)
                raise
        return
    if not jobs:
        return
    children = Children(_PRELOAD)
    failed = ""
    with _on_sigterm(children.stop), ThreadPoolExecutor(limit, "step") as pool:
        try:
            futures = {
                pool.submit(copy_context().run, job, children.run_stage): job.name for job in jobs
            }
            pending = set(futures)
            while pending:
                done, pending = wait(pending, _POLL_SECONDS, FIRST_EXCEPTION)
                for future in done:
                    if error := future.exception():
                        failed = futures[future]
                        raise error
        except BaseException:  # Ctrl-C too
            on_failure(failed or next((job for job in jobs if job.given is None), jobs[-1]).name)
            children.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _on_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on SIGTERM; only the main thread may listen."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
