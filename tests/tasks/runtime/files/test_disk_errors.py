"""A full disk is no defect of ours: it is named, nothing is lost, and the run goes on."""

import errno
import os
import resource
import shutil
import sqlite3
from contextlib import closing

import pytest
import sqlalchemy
from safetensors import SafetensorError

from data_contracts.artifacts import StageSummary
from data_contracts.errors import MachineExhausted
from tasks.runtime.stages import Stage, StageConfig, run_stage


def full_device():
    """What the kernel says of its own full device."""
    device = os.open("/dev/full", os.O_WRONLY)
    try:
        os.write(device, b"weights")
    finally:
        os.close(device)


def rust():
    """What safetensors said of a full disk on 2026-11-27."""
    said = "I/O error: No space left on device (os error 28)"
    raise SafetensorError(f"Error while serializing: {said}")


@pytest.mark.parametrize("write", [full_device, rust])
def test_a_stage_on_a_full_disk_says_so_and_goes_on_from_its_checkpoint(store, write):
    """A traceback out of a library, after which nobody knows whether hours of training are lost."""
    is_full = [True]

    def train(config, inputs, workspace):
        checkpoint = workspace.work / "checkpoint"
        if is_full:
            checkpoint.write_text("step 100")
            write()
        (workspace.output / "model").write_text(checkpoint.read_text())
        return StageSummary()

    stage = Stage("student", 1, train)
    with pytest.raises(MachineExhausted, match=r"student: no room left on the disk of /.* MB free"):
        run_stage(stage, StageConfig(), {}, store=store)
    is_full.clear()
    artifact = run_stage(stage, StageConfig(), {}, store=store).artifact
    assert (artifact.path / "model").read_text() == "step 100"


def limited(folder):
    """What the kernel says of a file beyond `ulimit -f`."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        (folder / "weights").write_bytes(b"0" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def copied(folder):
    """What `shutil` says of a folder with such a file."""
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_bytes(b"0" * 2000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        shutil.copytree(folder / "model", folder / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def locked(folder):
    """What SQLite says of a file on a disk that became read-only."""
    (folder / "study.db").touch()
    with closing(sqlite3.connect(f"file:{folder}/study.db?mode=ro", uri=True)) as database:
        database.execute("create table trials (number)")


def locked_registry(folder):
    """What SQLAlchemy makes of that."""
    (folder / "mlflow.db").touch()
    engine = sqlalchemy.create_engine(f"sqlite:///file:{folder}/mlflow.db?mode=ro&uri=true")
    with engine.connect() as connection:
        connection.exec_driver_sql("create table runs (\n    number\n)")


def remounted(folder):
    """What the kernel says where an error made it mount the disk anew, and the rest a library."""
    raise SafetensorError(f"I/O error: Read-only file system (os error {errno.EROFS})")


def broken(folder):
    """What the kernel says of a block that cannot be written."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("write", [limited, copied, locked, locked_registry, remounted, broken])
def test_a_stage_on_a_failing_disk_says_so(store, write):
    """Forty lines of a library for a disk that went read-only in the night."""

    def train(config, inputs, workspace):
        write(workspace.work)

    with pytest.raises(MachineExhausted, match=r"student: the disk of /.* fails: ") as caught:
        run_stage(Stage("student", 1, train), StageConfig(), {}, store=store)
    assert "ulimit -f" in caught.value.remedy
    assert "\n" not in caught.value.fact
    assert "[(" not in caught.value.fact


@pytest.mark.parametrize("error", [OSError(2, "no such file"), ValueError("step 28 of 30")])
def test_other_errors_stay_what_they_are(store, error):
    """A defect told as a full disk: the user frees space, and it fails again."""

    def train(config, inputs, workspace):
        raise error

    with pytest.raises(type(error)) as caught:
        run_stage(Stage("student", 1, train), StageConfig(), {}, store=store)
    assert caught.value is error
