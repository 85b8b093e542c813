"""Prefect's and MLflow's own servers, on loopback, for as long as a command runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from data_contracts.errors import TransientError
from tasks.runtime.locations import home

LOOPBACK = "127.0.0.1"
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0


def free_port(preferred: int) -> int:
    """`preferred` if nothing listens there, otherwise any free port."""
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise TransientError("no free port on this machine", remedy="end another server first")


@contextmanager
def serving(
    name: str, arguments: list[str], *, health: str, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python <arguments>` until the block ends; begins once `health` answers.

    Args:
        name: for messages.
        arguments: after the Python interpreter, such as `["-m", "prefect", "server", "start"]`.
        health: URL that answers 200 once the server is up.
        environment: variables to add.

    Raises: TransientError if it does not come up within two minutes.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Its own session, so that Ctrl-C reaches us alone and we end it in order.
        start_new_session=True,
    )
    try:
        _wait_until_up(name, process, health)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(name: str, process: subprocess.Popen[bytes], health: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TransientError(
        f"{name} did not come up within {_START_SECONDS:.0f} s",
        rule=f"{health} must answer",
        remedy="try again; if it recurs, start it by hand to see its messages",
    )


@contextmanager
def prefect_server(port: int) -> Iterator[str]:
    """Prefect's server with its pages on `port`; gives the API's URL."""
    api = f"http://{LOOPBACK}:{port}/api"
    arguments = ["-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", str(port)]
    # The pages run in the reader's browser and must know the port.
    environment = {"PREFECT_UI_API_URL": api, "PREFECT_SERVER_UI_API_URL": api}
    # CORS is * by default: only these pages may read the API.
    environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = f"http://{LOOPBACK}:{port}"
    with serving("Prefect's server", arguments, health=f"{api}/health", environment=environment):
        yield api


def require_prefect() -> None:
    """Ask Prefect's API whether it is there; starts the embedded server if no other is named.

    Raises: TransientError if it does not answer.
    """
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            error = client.api_healthcheck()
    except RuntimeError as failure:  # the embedded server did not start
        error = failure
    if error is not None:
        api = os.environ.get("PREFECT_API_URL", "the embedded server")
        raise TransientError(
            f"Prefect's API does not answer at {api}: {error}",
            rule="a run is shown by the server that PREFECT_API_URL names, or by one of its own",
            remedy="start that server, unset PREFECT_API_URL, or use --no-orchestrator",
        ) from error


@contextmanager
def mlflow_server(port: int) -> Iterator[str]:
    """MLflow's server with its pages on `port`; gives its URL."""
    from tasks.serving.registry import tracking_uri

    url = f"http://{LOOPBACK}:{port}"
    arguments = ["-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port)]
    arguments += ["--backend-store-uri", tracking_uri(), "--workers", "1"]
    arguments += ["--artifacts-destination", (home() / "mlartifacts").as_uri()]
    # Jobs and gateways run what a request says: nothing here needs them.
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with serving("MLflow's server", arguments, health=f"{url}/health", environment=environment):
        yield url
