"""What a killed run leaves behind in Prefect's database, and how it is cleared away.

`kill -9` gives nobody a chance to say goodbye: the flow run stays Running for ever. Each run holds
a lock while it lives (`liveness.py`), so the next run can tell the dead from the living and sets
dead flow runs to Crashed. Only for the server that a run starts for itself; one that many share has
an automation instead (`deployment.py`).
"""

import time
from contextlib import AbstractContextManager
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import get_current_settings
from prefect.states import Crashed

from flows.orchestration.servers import uses_embedded_server
from flows.runs.liveness import alive, is_alive

# A run is Running for a moment before it holds its lock; nothing younger than this is called dead.
_GRACE_SECONDS = 10.0


def mark_alive(flow_run_id: str) -> AbstractContextManager[None]:
    """Hold the lock that shows flow run `flow_run_id` to be alive."""
    return alive(_lock(flow_run_id))


def reap_orphans(flow_name: str) -> int:
    """Set flow runs of dead processes to Crashed; how many there were."""
    if not uses_embedded_server():
        return 0
    states = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING])
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=states)),
        )
        dead = [run for run in runs if _is_dead(run)]
        for run in dead:
            message = "The process of this run ended without a word; a new run resumes it."
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            _lock(str(run.id)).unlink(missing_ok=True)
    return len(dead)


def _is_dead(run: FlowRun) -> bool:
    if run.start_time and time.time() - run.start_time.timestamp() < _GRACE_SECONDS:
        return False
    return not is_alive(_lock(str(run.id)))


def _lock(flow_run_id: str) -> Path:
    return get_current_settings().home / "alive" / f"{flow_run_id}.lock"
