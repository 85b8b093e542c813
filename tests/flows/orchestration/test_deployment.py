"""A deployment of `decant serve`: its form, its schedule, and a run started from it."""

import json
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, body=None, *, patience_seconds=60):
    """The server's answer; a server waiting for its database says 503, and is asked again."""
    request = urllib.request.Request(url, headers={"Content-Type": "application/json"})
    data = None if body is None else json.dumps(body).encode()
    until = time.monotonic() + patience_seconds
    while True:
        try:
            with urllib.request.urlopen(request, data, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > until:
                raise
        time.sleep(1)


def test_a_served_recipe_runs_from_its_form(tiny, prefect_home):
    """A deployment would be listed and fail on every schedule: only served runs resolve types."""
    home, port = prefect_home, free_port()
    api = f"http://127.0.0.1:{port}/api"
    process = home.start(
        "serve", tiny / "recipe.yaml", "--cron", "0 3 * * *", "--port", str(port),
        "--set", "baselines={pseudo_labels: true, supervised: false, linear: false}",
    )  # fmt: skip

    def deployment():
        try:
            found = ask(f"{api}/deployments/filter", {})
        except OSError:
            return None
        return found[0] if found else None

    try:
        found = home.wait_for(deployment, seconds=200)
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

        state = home.wait_for(finished, seconds=300)
        assert state["type"] == "COMPLETED", home.said()
        assert list((home.path / "artifacts" / "registration").glob("*/record.json"))
        (automation,) = ask(f"{api}/automations/filter", {})
        assert "heartbeat" in automation["name"]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=180)
    assert home.servers() == set()
