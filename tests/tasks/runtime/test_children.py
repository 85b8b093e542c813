"""Stages in child processes: what they say, give and raise arrives; a death stays their own."""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data_contracts.errors import MachineExhausted, Preempted, RecipeError
from tasks.runtime.children import Children
from tasks.runtime.progress import SilentProgress, StopTraining
from tasks.runtime.stages import Stage

# A module of its own: children import stages by name.
SOURCE = """
import json, os, signal, sys, time
from data_contracts.artifacts import StageSummary
from data_contracts.errors import RecipeError
from tasks.runtime.stages import StageConfig

class Config(StageConfig):
    does: str = "writes"

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(one)

def toy(config, inputs, workspace):
    workspace.progress.start("toy", total=2, unit="rows")
    workspace.progress.advance(2, note="loss 1")
    workspace.progress.say("half")
    if config.does == "refuses":
        raise RecipeError("row 7", rule="rule", remedy="remedy")
    if config.does == "errs":
        raise Odd("one", "two")
    if config.does == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if config.does == "validates":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        workspace.progress.validated(1, {"loss": 2.0})
        time.sleep(60)
    if config.does == "waits":
        (workspace.work / "waiting").touch()
        time.sleep(60)
    told = f"{os.getpid()}"
    if config.does == "tells":
        blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        told = json.dumps([os.getppid(), "wave" in sys.modules, blocked])
    (workspace.output / "out").write_text(told)
    return StageSummary(facts={"rows": 2})
"""


class Heard(SilentProgress):
    """Remembers what it heard."""

    def __init__(self):
        self.lines = []

    def start(self, description, *, total, unit):
        self.lines.append((description, total, unit))

    def advance(self, amount=1, *, note=""):
        self.lines.append((amount, note))

    def say(self, message):
        self.lines.append(message)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The module above."""
    (tmp_path / "toy_child_stage.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("toy_child_stage")


def run(children, toy, store, does="writes", **options):
    stage = Stage("toy", 1, toy.toy)
    return children.run_stage(stage, toy.Config(does=does), {}, store=store, **options)


def test_a_child_builds_what_the_next_look_finds(toy, store):
    """A process of its own for every cached step: seconds for nothing."""
    heard, children = Heard(), Children()
    built = run(children, toy, store, progress=heard)
    assert not built.cached
    assert heard.lines == [("toy", 2, "rows"), (2, "loss 1"), "half"]
    found = run(children, toy, store)
    assert found.cached
    assert found.artifact == built.artifact
    assert not run(children, toy, store, force=True).cached


def test_errors_of_a_child_come_through_whole(toy, store):
    """A user's mistake would read as a broken pool, and be retried."""
    children = Children()
    with pytest.raises(RecipeError) as raised:
        run(children, toy, store, "refuses")
    assert (raised.value.fact, raised.value.rule, raised.value.remedy) == (
        "row 7",
        "rule",
        "remedy",
    )
    with pytest.raises(RuntimeError, match="Odd: one"):  # it cannot be rebuilt here: its words are
        run(children, toy, store, "errs")
    with pytest.raises(MachineExhausted, match="killed"):
        run(children, toy, store, "dies")
    assert run(children, toy, store).artifact.manifest.facts == {"rows": 2}


def test_a_listener_that_has_seen_enough_ends_the_child_and_leaves_nothing(toy, store):
    """Half an artifact of each trial that was ended early."""

    class Strict(SilentProgress):
        def validated(self, number, figures):
            raise StopTraining(f"{number}: {figures}")

    with pytest.raises(StopTraining, match="loss"):
        run(Children(), toy, store, "validates", progress=Strict())
    assert not list((store.root / "tmp").iterdir())
    assert not (store.root / "artifacts").exists()


def test_stop_ends_who_runs_and_starts_no_more(toy, store):
    """SIGTERM to a run would leave its children at work, holding their locks."""
    children, errors = Children(), []

    def wait():
        try:
            run(children, toy, store, "waits")
        except Preempted as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    deadline = time.monotonic() + 60
    while not list((store.root / "work").glob("toy/*/waiting")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children.stop()
    thread.join(20)
    assert len(errors) == 1
    with pytest.raises(Preempted):
        run(children, toy, store)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


EARLY = """
import json, sys
from multiprocessing import forkserver
from pathlib import Path
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.children import Children, start_helper
import toy_child_stage as toy
from tasks.runtime.stages import Stage

if __name__ == "__main__":
    start_helper(["wave"])
    helper = forkserver._forkserver._forkserver_pid
    store = ArtifactStore(Path(sys.argv[1]))
    stage = Stage("toy", 1, toy.toy)
    outcome = Children().run_stage(stage, toy.Config(does="tells"), {}, store=store)
    print(json.dumps([helper, *json.loads((outcome.artifact.path / "out").read_text())]))
"""


def test_children_come_from_the_helper_that_was_started_before(toy, tmp_path):
    """A helper started early that nobody uses, or that imports nothing: the imports would be waited
    for all the same; and Ctrl-C while it imports would print somebody else's traceback."""
    (tmp_path / "early.py").write_text(EARLY)
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "early.py"), str(tmp_path / "home")],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    helper, parent, has_module, blocked = json.loads(done.stdout)
    assert parent == helper
    assert has_module
    assert blocked
