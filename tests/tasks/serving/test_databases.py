"""MLflow's local database: there with all its tables, or not there."""

import signal
import subprocess
import sys
import time

import pytest

from tasks.serving.databases import make_database
from tasks.serving.registry import Registry

CONNECT = "from tasks.serving.registry import Registry; Registry()"


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

    assert Registry().versions() == []
    before = (tmp_path / "mlflow.db").read_bytes()
    make_database(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert (tmp_path / "mlflow.db").read_bytes() == before


def databases(folder):
    """What lies in `folder` under the database's name, or one made of it, but for journals."""
    return [one for one in folder.glob("*mlflow.db*") if not one.name.endswith("-journal")]


@pytest.mark.parametrize("uri", ["http://server:5000", "sqlite://", "sqlite:///:memory:", ""])
def test_what_is_no_path_of_a_database_makes_no_file(uri, tmp_path, monkeypatch):
    """A file named `http:` in the working directory, in place of a server's answer."""
    monkeypatch.chdir(tmp_path)
    make_database(uri)
    assert list(tmp_path.iterdir()) == []
