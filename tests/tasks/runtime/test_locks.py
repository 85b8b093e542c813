"""One holder a lock, and no lock survives its holder."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tasks.runtime.locks import exclusive_lock

HOLD = """
import sys, time
from pathlib import Path
from tasks.runtime.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
COUNT = """
import sys
from pathlib import Path
from tasks.runtime.locks import exclusive_lock
lock, counter = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(30):
    with exclusive_lock(lock):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock `tmp_path/l/k.lock`."""
    path = tmp_path / "l" / "k.lock"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    yield path, child
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_killed_holder_frees_its_lock_at_once(holder):
    """An expiring lock record: after kill -9 the next run hangs for ever."""
    path, child = holder
    waited = []

    def on_wait():
        waited.append(True)
        os.kill(child.pid, signal.SIGKILL)

    with exclusive_lock(path, on_wait=on_wait):
        assert waited == [True]
    assert child.wait() == -signal.SIGKILL


def test_a_waiting_run_can_be_interrupted(holder):
    """Ctrl-C that does nothing until the other run is through."""
    path, _ = holder

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), exclusive_lock(path, on_wait=interrupt):
        pytest.fail("the lock was held by two")
    assert _open_descriptors(path) == 0


def test_a_free_lock_is_taken_without_waiting(tmp_path):
    """ "Another run is building this" at every start."""
    path = tmp_path / "deep" / "er" / "k.lock"
    for _ in range(2):
        with exclusive_lock(path, on_wait=lambda: pytest.fail("waited for nobody")):
            pass
    assert _open_descriptors(path) == 0


def test_processes_and_threads_exclude_each_other(tmp_path):
    """Two writers of one key: lost updates."""
    lock, counter = tmp_path / "k.lock", tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", COUNT, str(lock), str(counter)]
    children = [subprocess.Popen(command) for _ in range(2)]

    def count():
        for _ in range(10):
            with exclusive_lock(lock):
                counter.write_text(str(int(counter.read_text()) + 1))

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.wait() for child in children] == [0, 0]
    assert counter.read_text() == "80"


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    """A worker forked during a stage that holds its key for days."""
    path = tmp_path / "k.lock"
    with exclusive_lock(path):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    try:
        with exclusive_lock(path, on_wait=lambda: pytest.fail("the child holds the lock")):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _open_descriptors(path: Path) -> int:
    links = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return links.count(path)
