"""Where shards are built: in this process, or as Prefect tasks in other processes or on Ray.

Only what consists of shards goes there (tokens, teacher signals, scores); steps stay in the flow's
process. Machines of a Ray cluster need this project installed and the store on a path that all
share.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from data_contracts.errors import UserError
from tasks.policies import run_shards_as_tasks
from tasks.runtime.machine.device import has_cuda, thread_count
from tasks.runtime.shards import SHARD_RUNNER, end_with_parent

ShardsOn = Literal["here", "processes", "ray"]


@contextmanager
def sharding(where: ShardsOn, *, workers: int, on_gpu: bool | None = None) -> Iterator[None]:
    """Build the shards of all stages in the block at `where`.

    Args:
        where: `ray` takes the cluster of RAY_ADDRESS, or starts one on this machine.
        workers: cores, for `processes`: as many at once as have the threads of a shard.
        on_gpu: whether shards compute on a GPU; None: if there is one.
    Raises: UserError if Ray is not installed, or processes would share a GPU.
    """
    if where == "here":
        yield
        return
    on_gpu = has_cuda() if on_gpu is None else on_gpu and has_cuda()
    with _task_runner(where, workers, on_gpu=on_gpu) as runner:
        token = SHARD_RUNNER.set(partial(run_shards_as_tasks, runner))
        try:
            with _claim(where, on_gpu=on_gpu):
                yield
        finally:
            SHARD_RUNNER.reset(token)


def _task_runner(where: ShardsOn, workers: int, *, on_gpu: bool) -> TaskRunner[Any]:
    if where == "processes":
        if on_gpu:
            raise UserError(
                "--shards-on processes on a machine with a GPU",
                rule="processes that each read with the same GPU wait for one another",
                remedy="leave the shards here, or give them to Ray, which hands out GPUs",
            )
        # A shard keeps its number of threads, which rounding depends on.
        at_once = max(1, workers // thread_count())
        return ProcessPoolTaskRunner(max_workers=at_once, initializer=end_with_parent)
    try:
        from prefect_ray import RayTaskRunner  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "Ray is not installed",
            rule="shards on Ray need the extra `ray`",
            remedy=".venv/bin/pip install -e '.[ray]', or leave the shards here",
        ) from error
    return RayTaskRunner(address=os.environ.get("RAY_ADDRESS"))


@contextmanager
def _claim(where: ShardsOn, *, on_gpu: bool) -> Iterator[None]:
    """What a shard needs of a Ray machine: a GPU where there are any, else its threads' cores."""
    if where != "ray":
        yield
        return
    from prefect_ray.context import remote_options  # pyright: ignore[reportMissingImports]

    needs: dict[str, float] = {"num_gpus": 1} if on_gpu else {"num_cpus": thread_count()}
    with remote_options(**needs):
        yield
