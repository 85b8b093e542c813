"""Runs of a registration, as a server of MLflow's is told of them."""

import os
import socket
import subprocess
import sys
import time

import pytest

from tasks.serving.registry.registry import Registry
from tasks.serving.registry.tracking import tracked_run
from tests.loopback import answers

CANARY = "c4n4ry-S3cr3t-9f"


@pytest.fixture
def server(registry_home, tmp_path):
    """Port of an MLflow server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--backend-store-uri", f"sqlite:///{registry_home / 'mlflow.db'}"]
    arguments += ["--artifacts-destination", (tmp_path / "artifacts").as_uri(), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--port", str(port), *arguments],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def test_the_password_in_the_servers_address_is_not_printed(server, monkeypatch, capfd):
    """MLflow prints each run's address as it ends, and the log of a nightly job keeps the password
    of the registry's one writer."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://writer:{CANARY}@127.0.0.1:{server}")
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    registry = Registry()
    with tracked_run(registry, name="tracked", tags={"recipe": "tiny"}) as run_id:
        pass
    assert registry.client.get_run(run_id).info.status == "FINISHED"
    printed = capfd.readouterr()
    assert CANARY not in printed.out + printed.err
