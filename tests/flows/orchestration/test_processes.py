"""Students side by side: the same bits as one after the other, and errors told as they are."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_contracts.errors import Preempted, TrainingDiverged
from flows.orchestration.processes import Job, run_side_by_side
from flows.recipe.loading.files import read_recipe
from infra.benchmarks import students
from tasks.runtime.artifacts import ArtifactStore


@pytest.mark.slow
def test_students_side_by_side_have_the_bits_of_students_in_sequence(tiny, before_students):
    """A student that depends on how many others were trained at the time cannot be made again."""
    students = before_students.home / "artifacts" / "student"
    weights = []
    for workers in (1, 3):
        done = before_students(
            "run", tiny / "recipe.yaml", "--no-orchestrator", "--workers", workers, check=0
        )
        assert done.stderr.count("built in") == 3
        found = sorted(students.glob("*/model/model.safetensors"))
        weights.append({path.parts[-3]: path.read_bytes() for path in found})
        shutil.rmtree(students)
    assert len(weights[0]) == 3
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_the_benchmark_of_students_side_by_side_times_every_way(tiny, finished):
    """A decision rests on a command that no longer finds what a run has left."""
    sizes = ["--epochs", "1", "--rounds", "1", "--students", "3", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "infra.benchmarks.students", tiny / "recipe.yaml", *sizes],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"DECANT_HOME": str(finished[0].home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ways = ["in sequence, all threads", "in sequence, one thread", "side by side, 2 workers"]
    assert re.findall(r"^(\S.*?) +median +[\d.]+ s", done.stdout, re.M) == ways


def test_students_that_a_run_trains_one_after_the_other_are_refused(tmp_path):
    """Ways are timed side by side in which no run would train, or a KeyError tells of it."""
    with pytest.raises(SystemExit, match="no student of sib200 is so small"):
        students.jobs(read_recipe("sib200"), ArtifactStore(tmp_path))


def diverge(run):
    raise TrainingDiverged("loss is nan", rule="finite", remedy="lower it")


@pytest.fixture
def ctrl_c():
    """Jobs of which the second presses Ctrl-C when the first is done."""

    def press(run):
        while jobs[0].given is None:
            time.sleep(0.01)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # in this thread
        os.kill(os.getpid(), signal.SIGINT)
        while run.__self__._stopped_at is None:
            time.sleep(0.01)
        raise Preempted("stopped")

    jobs = [Job("done", lambda run: 1), Job("at work", press)]
    # Whoever runs the tests in the background of a shell has had the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield jobs
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_told_as_a_job_s_that_was_at_work(ctrl_c):
    """`decant status` blames the step before, which has finished."""
    failed = []
    with pytest.raises(KeyboardInterrupt):
        run_side_by_side(ctrl_c, limit=2, on_failure=failed.append)
    assert failed == ["at work"]


@pytest.mark.timeout(60)
def test_ctrl_c_that_does_not_wake_the_main_thread_is_answered_all_the_same(ctrl_c):
    """One that comes just before the wait begins is answered when a student is done, in hours."""
    failed = []
    # That instant cannot be hit on purpose; a signal that another thread receives is alike.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with pytest.raises(KeyboardInterrupt):
            run_side_by_side(ctrl_c, limit=2, on_failure=failed.append)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert failed == ["at work"]


def test_the_first_failure_is_raised_whole_and_ends_the_others():
    """One student that diverges would be reported hours later, or as a broken pool."""
    failed = []

    def wait_until_stopped(run):
        stop = run.__self__
        while stop._stopped_at is None:
            time.sleep(0.01)
        raise Preempted("stopped")

    jobs = [Job("long", wait_until_stopped), Job("bad", diverge), Job("queued", wait_until_stopped)]
    with pytest.raises(TrainingDiverged) as raised:
        run_side_by_side(jobs, limit=2, on_failure=failed.append)
    assert (raised.value.fact, raised.value.remedy) == ("loss is nan", "lower it")
    assert failed == ["bad"]
    assert jobs[2].given is None


def test_sigterm_reaches_all_that_run_and_is_not_lost_afterwards():
    """A preempted machine would go down without a checkpoint."""

    def preempted(run):
        while run.__self__._stopped_at is None:
            time.sleep(0.01)
        raise Preempted("saved")

    def terminate(run):
        os.kill(os.getpid(), signal.SIGTERM)
        preempted(run)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted):
        run_side_by_side(
            [Job("a", preempted), Job("b", terminate)], limit=2, on_failure=lambda name: None
        )
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_ended_among_its_students_leaves_nobody_and_is_resumed(
    tiny, finished, before_students, number
):
    """Children that outlive their parent hold the locks that the next run waits for."""
    undisturbed, decant = finished[0], before_students
    process = decant.start("run", tiny / "recipe.yaml", "--no-orchestrator", "--workers", 2)
    deadline = time.monotonic() + 120
    while not any((decant.home / "work" / "student").glob("*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, number)  # the parent alone
    said = process.communicate(timeout=60)[1]  # ends when the last child has closed its stderr
    assert process.returncode == (143 if number == signal.SIGTERM else -9), said
    deadline = time.monotonic() + 10
    while left := members_of(process.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    decant("run", tiny / "recipe.yaml", "--no-orchestrator", check=0)
    for path in (undisturbed.home / "artifacts" / "student").glob("*/model/model.safetensors"):
        resumed = decant.home / path.relative_to(undisturbed.home)
        assert resumed.read_bytes() == path.read_bytes()


def members_of(session):
    """Command lines of the living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if fields[3] == str(session) and fields[0] != "Z":
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found
