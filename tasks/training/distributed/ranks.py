"""One rank of a training run, started by `torchrun … -m tasks.training.distributed.ranks job.json`.

Rank 0 works in the stage's own output directory; the others run the same function and throw away
what they write.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from data_contracts.artifacts import StageSummary
from data_contracts.errors import DecantError
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.machine.device import has_cuda
from tasks.runtime.progress import Progress, SilentProgress
from tasks.runtime.stages import Workspace
from tasks.training.distributed.launching import Job


class _LineProgress:
    """Tells the launching process, as lines of JSON on stdout."""

    def start(self, description: str, *, total: int, unit: str) -> None:
        _tell("start", (description,), {"total": total, "unit": unit})

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        _tell("advance", (amount,), {"note": note})

    def say(self, message: str) -> None:
        _tell("say", (message,), {})

    def validated(self, number: int, figures: dict[str, float]) -> None:
        _tell("validated", (number, figures), {})


def _tell(method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"progress": (method, arguments, named)}) + "\n")
    sys.stdout.flush()


def main(file: Path) -> None:
    """Join the other ranks and run the job in `file`."""
    job = Job.model_validate_json(file.read_bytes())
    threading.Thread(target=_end_with_parent, args=(job.parent_lock,), daemon=True).start()
    rank = int(os.environ["RANK"])
    try:
        if has_cuda():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if has_cuda() else "gloo")
        summary = _run(job, rank)
        dist.barrier()  # nobody leaves, and so closes connections, before all are done
        if rank == 0:
            job.summary.write_text(summary.model_dump_json(), encoding="utf-8")
        dist.destroy_process_group()
    except BaseException as error:
        _leave_word(job, rank, error)
        traceback.print_exc()
        sys.stderr.flush()
        # At once: the tidy way may wait for peers that are gone.
        os._exit(1)


def _run(job: Job, rank: int) -> StageSummary:
    module = importlib.import_module(job.module)
    config = module.Config.model_validate(job.config)
    progress: Progress = _LineProgress() if rank == 0 else SilentProgress()
    with tempfile.TemporaryDirectory() as scratch:
        output = job.output if rank == 0 else Path(scratch)
        workspace = Workspace(
            output, job.work, ArtifactStore(job.root), progress, force=job.force, run_id=job.run_id
        )
        return getattr(module, job.function)(config, job.inputs, workspace)


def _end_with_parent(lock: Path) -> None:
    """The lock can be had once the launching process is gone, however it went."""
    descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os._exit(1)


def _leave_word(job: Job, rank: int, error: BaseException) -> None:
    told = {"kind": type(error).__name__, "fact": repr(error), "rule": "", "remedy": ""}
    if isinstance(error, DecantError):
        told |= {"fact": error.fact, "rule": error.rule, "remedy": error.remedy}
    job.error(rank).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
