"""MLflow's local database: there with all its tables, or not there."""

import fcntl
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tasks.runtime.locks import exclusive_lock
from tasks.serving.registry.databases import make_database
from tasks.serving.registry.registry import Registry

CONNECT = "from tasks.serving.registry.registry import Registry; Registry()"


def test_a_registry_that_is_killed_while_it_is_made_is_made_anew(tmp_path, monkeypatch):
    """kill -9 in the first registration: MLflow says "table already exists" ever after, and no run
    of that home is registered until somebody deletes mlflow.db by hand."""
    monkeypatch.setenv("DECANT_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    process = subprocess.Popen([sys.executable, "-c", CONNECT])
    # With some tables of many, which is some seconds before it is complete.
    while process.poll() is None and sum(one.stat().st_size for one in databases(tmp_path)) < 1e5:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was done before it was killed"

    registry = Registry()
    assert registry.versions() == []
    # `decant status` of somebody's server would leave an experiment there.
    assert registry.client.get_experiment_by_name("decant") is None
    assert sorted(one.name for one in tmp_path.iterdir()) == ["locks", "mlflow.db"]
    before = (tmp_path / "mlflow.db").read_bytes()
    make_database(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert (tmp_path / "mlflow.db").read_bytes() == before
    assert registry.experiment_id == Registry().experiment_id  # made once
    assert registry.client.get_experiment_by_name("decant").artifact_location.startswith(
        (tmp_path / "mlartifacts").as_uri()
    )


def test_a_database_that_another_made_meanwhile_is_kept(tmp_path):
    """Two homes with one MLFLOW_TRACKING_URI, or `mlflow server` beside a run: whoever is slower
    puts empty tables over a registry that has models in it."""
    path = tmp_path / "mlflow.db"

    def make_it_faster():
        while not list(tmp_path.glob(".mlflow.db.*")):
            time.sleep(0.001)
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("CREATE TABLE kept (name TEXT)")

    faster = threading.Thread(target=make_it_faster)
    faster.start()
    make_database(f"sqlite:///{path}")
    faster.join()

    with closing(sqlite3.connect(path)) as found:
        assert found.execute("SELECT name FROM sqlite_master").fetchall() == [("kept",)]
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_file_becomes_a_database(tmp_path):
    """sqlite3 leaves a file without a byte where it was only opened: no registry ever after."""
    path = tmp_path / "mlflow.db"
    path.touch()
    make_database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as found:
        names = {name for (name,) in found.execute("SELECT name FROM sqlite_master")}
    assert {"experiments", "registered_models", "alembic_version"} <= names


def test_what_killed_attempts_left_goes_and_what_another_home_is_making_stays(tmp_path):
    """Each kill in a first registration leaves half a database beside it for ever; or two homes
    with one MLFLOW_TRACKING_URI take away what the other is making."""
    path, others = tmp_path / "mlflow.db", (tmp_path / ".mlflow.db.mine", tmp_path / ".mlflow.db.0")
    left, journal, held = (tmp_path / f".mlflow.db.{digit * 32}" for digit in "0ab")
    journal = journal.with_name(f"{journal.name}-journal")
    lock = held.with_name(f"{held.name}-lock")
    for one in (path, *others, left, left.with_name(f"{left.name}-journal"), journal, held):
        one.write_text("made")
    with exclusive_lock(lock):
        make_database(f"sqlite:///{path}")
        assert set(tmp_path.iterdir()) == {path, *others, held, lock}
    make_database(f"sqlite:///{path}")
    assert set(tmp_path.iterdir()) == {path, *others}


def test_no_lock_of_ours_is_on_the_file_that_sqlite_writes(tmp_path, monkeypatch):
    """On NFS a flock is a lock of the bytes, as SQLite's are: "database is locked", and no registry
    in any home there."""
    free = []

    def initialize(engine):
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE runs (name TEXT)")
        with Path(engine.url.database).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free.append(engine.url.database)

    monkeypatch.setattr("mlflow.store.db.utils._initialize_tables", initialize)
    path = tmp_path / "mlflow.db"
    make_database(f"sqlite:///{path}")
    assert len(free) == 1
    assert list(tmp_path.iterdir()) == [path]


def databases(folder):
    """What lies in `folder` under the database's name, or one made of it, but for journals."""
    return [one for one in folder.glob("*mlflow.db*") if not one.name.endswith("-journal")]


@pytest.mark.parametrize("uri", ["http://server:5000", "sqlite://", "sqlite:///:memory:", ""])
def test_what_is_no_path_of_a_database_makes_no_file(uri, tmp_path, monkeypatch):
    """A file named `http:` in the working directory, in place of a server's answer."""
    monkeypatch.chdir(tmp_path)
    make_database(uri)
    assert list(tmp_path.iterdir()) == []
