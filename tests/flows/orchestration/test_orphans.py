"""What `kill -9` leaves on Prefect's page, and that the next run clears it away."""

import signal

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_killed_run_is_crashed_by_the_next_one_which_shows_cached_steps(tiny, prefect_home):
    """A killed run would be Running for ever on the page, its server eating 200 MB for ever."""
    home = prefect_home
    first = home.start("run", tiny / "recipe.yaml")
    home.wait_for(lambda: any((home.path / "work" / "teacher").glob("*")), seconds=200)
    first.send_signal(signal.SIGKILL)
    first.wait()
    home.wait_for(lambda: not home.servers(), seconds=20)
    home.age_runs(seconds=10)  # younger ones may be about to take their lock

    assert home.start("run", tiny / "recipe.yaml").wait(timeout=300) == 0
    states = home.rows("SELECT state_name FROM flow_run ORDER BY created")
    assert states == [("Crashed",), ("Completed",)]
    assert not home.servers()
    ((name,),) = home.rows("SELECT DISTINCT name FROM flow_run")
    assert name.startswith("tiny-")
    # The first run's tasks were written by its own server; the last ones are the second run's.
    tasks = home.rows("SELECT name, state_name FROM task_run ORDER BY start_time")
    assert ("corpus", "Cached") in tasks
    assert ("registration", "Completed") in tasks
    keys = {key for (key,) in home.rows("SELECT DISTINCT key FROM artifact")}
    assert {"corpus", "student-seed-0", "result", "report"} <= keys
