"""Processes that build shards: they end with the one that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

from tasks.runtime.shards import end_with_parent

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=end_with_parent) as pool:
        idle = pool.submit(os.getpid).result()
        at_work = pool.submit(time.sleep, 600)
        waiting = pool.submit(os.getpid).result()
        print(idle, waiting, flush=True)
        time.sleep(600)
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    """Each `kill -9` of a run leaves a gigabyte of workers that wait for their next shard."""
    (tmp_path / "parent.py").write_text(PARENT, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        text=True,
    )
    workers = set(parent.stdout.readline().split())
    assert len(workers) == 2
    assert all(is_there(worker) for worker in workers)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while left := [worker for worker in workers if is_there(worker)]:
        if time.monotonic() > deadline:
            for worker in left:
                os.kill(int(worker), signal.SIGKILL)
            pytest.fail(f"{len(left)} of 2 workers are left")
        time.sleep(0.05)


def is_there(process):
    """Whether a process lives: one that has ended may wait to be reaped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
