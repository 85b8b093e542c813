"""Prefect's and MLflow's own servers, on loopback, for as long as a command runs."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from data_contracts.errors import TransientError
from tasks.runtime.files.locations import home
from tasks.runtime.locks import exclusive_lock

LOOPBACK = "127.0.0.1"
_API = "PREFECT_API_URL"
_EMBEDDED_API = "DECANT_EMBEDDED_API"
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0


def free_port(preferred: int = 0) -> int:
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


def api_at(port: int) -> str:
    """URL of the API of a Prefect server that listens on `port` of this machine."""
    return f"http://{LOOPBACK}:{port}/api"


@contextmanager
def starting(
    name: str, arguments: list[str], *, health: str, environment: dict[str, str] | None = None
) -> Iterator[Callable[[], None]]:
    """Run `python <arguments>` until the block ends; gives a function that waits until it is up.

    Args:
        name: for messages.
        arguments: after the Python interpreter, such as `["-m", "prefect", "server", "start"]`.
        health: URL that answers 200 once the server is up.
        environment: variables to add.
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
        yield lambda: _wait_until_up(name, process, health)
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
            time.sleep(0.1)
    raise TransientError(
        f"{name} did not come up within {_START_SECONDS:.0f} s",
        rule=f"{health} must answer",
        remedy="try again; if it recurs, start it by hand to see its messages",
    )


def find_prefect_api() -> Callable[[], None]:
    """Prefect's API for this process: that of PREFECT_API_URL, or a server started here.

    Call it before prefect is imported. The server is ended when the process exits: exit handlers
    run last in, first out, so Prefect's own have sent their last logs and events by then.

    Returns: a function that waits until the API answers, so that imports go on meanwhile; it raises
        TransientError if the API does not answer.
    """
    _make_prefect_home()
    if _API in os.environ:
        return _require_answer
    port = free_port()
    api = api_at(port)
    stack = ExitStack()
    atexit.register(stack.close)
    arguments = ["-m", "flows.orchestration.embedded", str(port)]
    wait = stack.enter_context(starting("Prefect's server", arguments, health=f"{api}/health"))
    os.environ.update({_API: api, _EMBEDDED_API: api})
    return wait


def prefect_starts_alone() -> AbstractContextManager[None]:
    """Held while a server of this Prefect home starts: the first one makes the tables, and one
    that makes them at the same time dies of it."""
    return exclusive_lock(Path(os.environ["PREFECT_HOME"]) / "server-starts.lock")


def uses_embedded_server() -> bool:
    """Whether Prefect's API is a server that this process started for itself alone."""
    return _EMBEDDED_API in os.environ and os.environ[_EMBEDDED_API] == os.environ.get(_API)


def _require_answer() -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        raise TransientError(
            f"Prefect's API does not answer at {os.environ[_API]}: {error}",
            rule="a run is shown by the server that PREFECT_API_URL names, or by one of its own",
            remedy="start that server, unset PREFECT_API_URL, or use --no-orchestrator",
        ) from error


def _make_prefect_home() -> None:
    # Prefect makes its home, but not the folders above it, and then waits two minutes in vain.
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


def end_in_order_on_sigterm() -> None:
    """Leave all blocks, and so end all servers, when a service manager says SIGTERM."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@contextmanager
def prefect_server(port: int) -> Iterator[str]:
    """Prefect's server with its pages on `port`, up; gives the API's URL.

    Raises: TransientError if it does not come up.
    """
    _make_prefect_home()
    api = api_at(port)
    arguments = ["-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", str(port)]
    # The pages run in the reader's browser and must know the port.
    environment = {"PREFECT_UI_API_URL": api, "PREFECT_SERVER_UI_API_URL": api}
    # CORS is * by default: only these pages may read the API.
    environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = f"http://{LOOPBACK}:{port}"
    with ExitStack() as stack:
        with prefect_starts_alone():
            wait = stack.enter_context(
                starting(
                    "Prefect's server", arguments, health=f"{api}/health", environment=environment
                )
            )
            wait()
        yield api


@contextmanager
def mlflow_server(port: int) -> Iterator[str]:
    """MLflow's server with its pages on `port`, up; gives its URL.

    Raises: TransientError if it does not come up.
    """
    from tasks.serving.registry.databases import database_lock, make_database
    from tasks.serving.registry.registry import tracking_uri

    with database_lock():
        make_database(tracking_uri())
    url = f"http://{LOOPBACK}:{port}"
    arguments = ["-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port)]
    arguments += ["--backend-store-uri", tracking_uri(), "--workers", "1"]
    arguments += ["--artifacts-destination", (home() / "mlartifacts").as_uri()]
    # Jobs and gateways run what a request says: nothing here needs them.
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with starting(
        "MLflow's server", arguments, health=f"{url}/health", environment=environment
    ) as wait:
        wait()
        yield url
