"""What a killed run leaves behind in the embedded Prefect server, and how it is cleared away.

`kill -9` gives nobody a chance to say goodbye: the flow run stays Running for ever and the server
process that the run had started stays too. Each run holds a lock while it lives (`liveness.py`), so
the next run can tell the dead from the living: it sets dead flow runs to Crashed and ends their
servers. Only for the embedded server; a real one has the zombie automation of infra/prefect.yaml.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings
from prefect.states import Crashed

from flows.liveness import alive, is_alive

# A run is Running for a moment before it holds its lock; nothing younger than this is called dead.
_GRACE_SECONDS = 10.0


def uses_embedded_server() -> bool:
    """Whether this process talks to the server that Prefect started for it alone."""
    return get_current_settings().api.url is None


def _folder() -> Path:
    return get_current_settings().home / "alive"


@contextmanager
def mark_alive(flow_run_id: str) -> Iterator[None]:
    """Hold the lock that shows flow run `flow_run_id` to be alive."""
    servers = [
        server.server_process.pid
        for server in SubprocessASGIServer._instances.values()
        if server.server_process
    ]
    with alive(_folder() / f"{flow_run_id}.json", json.dumps({"server_pids": servers})):
        yield


def reap_orphans(flow_name: str) -> int:
    """Set flow runs of dead processes to Crashed and end the servers they left; how many runs."""
    if not uses_embedded_server():
        return 0
    for path in _folder().glob("*.json"):
        if time.time() - path.stat().st_mtime > _GRACE_SECONDS and not is_alive(path):
            _end_servers(path)
            path.unlink(missing_ok=True)
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(
                    type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING])
                )
            ),
        )
        dead = [
            run
            for run in runs
            if not (run.start_time and time.time() - run.start_time.timestamp() < _GRACE_SECONDS)
            and not is_alive(_folder() / f"{run.id}.json")
        ]
        for run in dead:
            message = "The process of this run ended without a word; a new run resumes it."
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    return len(dead)


def _end_servers(path: Path) -> None:
    """End the server processes that the dead owner of `path` had started."""
    try:
        pids = json.loads(path.read_text(encoding="utf-8"))["server_pids"]
    except (OSError, ValueError, KeyError):
        return
    for pid in pids:
        # The number may belong to another process by now: ask what it runs, and for whom.
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{int(pid)}/cmdline").read_bytes()
            environment = Path(f"/proc/{int(pid)}/environ").read_bytes().split(b"\0")
            ours = f"PREFECT_HOME={get_current_settings().home}".encode() in environment
            if b"prefect.server.api.server" in command and ours:
                os.kill(int(pid), signal.SIGTERM)
