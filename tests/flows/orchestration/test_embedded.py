"""Prefect's server for one run: many may be started for one home."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from flows.orchestration.servers import LOOPBACK, free_port, prefect_starts_alone
from tests.loopback import answers


@pytest.mark.slow
def test_a_server_makes_no_tables_while_another_of_its_home_starts(tmp_path, monkeypatch):
    """Two recipes started by one script on a new machine: both servers make the tables of the one
    database, one dies of it, and its run ends after two minutes with "did not come up"."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    port = free_port()
    url = f"http://{LOOPBACK}:{port}/api/health"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")}
    with ExitStack() as stack:
        with prefect_starts_alone():
            server = subprocess.Popen(
                [sys.executable, "-m", "flows.orchestration.embedded", str(port)],
                env=kept,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(server.wait)
            stack.callback(server.terminate)
            wait_for(lambda: answers(url) or waits(server), server)
            assert not answers(url)
            assert not (tmp_path / "prefect.db").exists()
        wait_for(lambda: answers(url), server)


def wait_for(condition, server):
    deadline = time.monotonic() + 200
    while not condition():
        assert server.poll() is None, "the server ended"
        assert time.monotonic() < deadline
        time.sleep(0.2)


def waits(server):
    """Whether the server has the lock's file open, which it cannot have locked."""
    opened = Path(f"/proc/{server.pid}/fd")
    with suppress(FileNotFoundError):  # closed since it was listed
        return any(file.resolve().name == "server-starts.lock" for file in opened.iterdir())
    return False
