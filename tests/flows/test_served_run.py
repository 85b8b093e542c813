"""Under Prefect: the embedded server of `decant run`, and a deployment of `decant serve`."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


def environment(home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    return {
        **kept,
        "DECANT_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def start(home, *arguments):
    home.mkdir(parents=True, exist_ok=True)
    with (home / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows", *map(str, arguments)],
            env=environment(home),
            cwd=home,
            stdout=log,
            stderr=log,
        )


def rows(home, query):
    """Rows of the embedded server's database."""
    connection = sqlite3.connect(f"file:{home / 'prefect' / 'prefect.db'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def wait_for(condition, *, seconds, log):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")[-5000:]
        time.sleep(0.1)
    return found


def processes_of(home):
    """Servers that were started for `home`."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            environment = (path / "environ").read_bytes()
        except OSError:
            continue
        if b"prefect.server.api.server" in command and f"{home}/prefect".encode() in environment:
            found.append(int(path.name))
    return found


def test_a_killed_run_is_crashed_by_the_next_one_which_shows_cached_steps(tiny, tmp_path):
    """A killed run would be Running for ever on the page, its server eating 200 MB for ever."""
    home = tmp_path / "home"
    first = start(home, "run", tiny / "recipe.yaml")
    wait_for(lambda: any((home / "work" / "teacher").glob("*")), seconds=200, log=home / "log")
    first.send_signal(signal.SIGKILL)
    first.wait()
    orphans = processes_of(home)
    assert orphans
    time.sleep(10)  # younger runs are left in peace: they may be about to take their lock

    assert start(home, "run", tiny / "recipe.yaml").wait(timeout=300) == 0
    states = rows(home, "SELECT state_name FROM flow_run ORDER BY created")
    assert states == [("Crashed",), ("Completed",)]
    assert not set(orphans) & set(processes_of(home))
    ((name,),) = rows(home, "SELECT DISTINCT name FROM flow_run")
    assert name.startswith("tiny-")
    # The first run's tasks were written by its own server; the last ones are the second run's.
    tasks = rows(home, "SELECT name, state_name FROM task_run ORDER BY start_time")
    assert ("corpus", "Cached") in tasks
    assert ("registration", "Completed") in tasks
    keys = {key for (key,) in rows(home, "SELECT DISTINCT key FROM artifact")}
    assert {"corpus", "student-seed-0", "result", "report"} <= keys


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, body=None):
    request = urllib.request.Request(url, headers={"Content-Type": "application/json"})
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, data, timeout=60) as answer:
        return json.loads(answer.read())


def test_a_served_recipe_runs_from_its_form(tiny, tmp_path):
    """A deployment would be listed and fail on every schedule: only served runs resolve types."""
    home, port = tmp_path / "home", free_port()
    api = f"http://127.0.0.1:{port}/api"
    process = start(
        home, "serve", tiny / "recipe.yaml", "--cron", "0 3 * * *", "--port", str(port),
        "--set", "baselines={pseudo_labels: true, supervised: false, linear: false}",
    )  # fmt: skip

    def deployment():
        try:
            found = ask(f"{api}/deployments/filter", {})
        except OSError:
            return None
        return found[0] if found else None

    try:
        found = wait_for(deployment, seconds=200, log=home / "log")
        form = found["parameter_openapi_schema"]
        assert form["properties"]["recipe"]
        assert (
            "BCP-47"
            in form["definitions"]["Recipe"]["properties"]["source_language"]["description"]
        )
        assert found["parameters"]["recipe"]["name"] == "tiny"
        assert found["schedules"][0]["schedule"]["cron"] == "0 3 * * *"
        run = ask(
            f"{api}/deployments/{found['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}}
        )

        def finished():
            state = ask(f"{api}/flow_runs/{run['id']}")["state"]
            return state if state["type"] in ("COMPLETED", "FAILED", "CRASHED") else None

        state = wait_for(finished, seconds=300, log=home / "log")
        assert state["type"] == "COMPLETED", (home / "log").read_text(encoding="utf-8")[-5000:]
        assert list((home / "artifacts" / "registration").glob("*/record.json"))
        (automation,) = ask(f"{api}/automations/filter", {})
        assert "heartbeat" in automation["name"]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    assert processes_of(home) == []
