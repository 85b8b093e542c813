"""torchrun around a stage's function: one writer, errors told whole, nobody left behind."""

import os
import time
from pathlib import Path

import pytest
from pydantic import BaseModel

from data_contracts.errors import TrainingDiverged
from tasks.runtime.stages import Workspace
from tasks.training.launching import run_in_ranks

STAGE = """
import os, signal, time
from pydantic import BaseModel
import torch, torch.distributed as dist
from data_contracts.artifacts import StageSummary
from data_contracts.errors import TrainingDiverged

class Config(BaseModel):
    fails: str = ""

def stage(config, inputs, workspace):
    rank = dist.get_rank()
    (workspace.work / f"pid-{rank}").write_text(str(os.getpid()))
    workspace.progress.start("toy", total=1, unit="steps")
    if rank == 1 and config.fails == "diverged":
        raise TrainingDiverged("loss is nan", rule="finite", remedy="lower it")
    if rank == 1 and config.fails == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    value = torch.ones(1)
    dist.all_reduce(value)
    (workspace.output / "out").write_text(f"{rank} {value.item()}")
    return StageSummary(facts={"ranks": dist.get_world_size()})
"""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ranks")]


class Config(BaseModel):
    fails: str = ""


class Heard:
    """Remembers what was started."""

    def __init__(self):
        self.started = []

    def start(self, description, *, total, unit):
        self.started.append((description, total, unit))


@pytest.fixture
def launch(tmp_path, monkeypatch, store):
    """Run the toy stage in two ranks; its workspace and summary."""
    (tmp_path / "toy_rank_stage.py").write_text(STAGE)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    )
    workspace = Workspace(tmp_path / "output", tmp_path / "work", store, Heard())
    workspace.output.mkdir()
    workspace.work.mkdir()

    def run(fails=""):
        config = Config(fails=fails)
        return run_in_ranks("toy_rank_stage:stage", config, {}, workspace, processes=2)

    return workspace, run


def test_rank_0_alone_writes_and_reports(launch):
    """Two ranks would overwrite each other's model, or count every step twice."""
    workspace, run = launch
    assert run().facts == {"ranks": 2}
    assert (workspace.output / "out").read_text() == "0 2.0"
    assert workspace.progress.started == [("toy", 1, "steps")]


@pytest.mark.parametrize("fails", ["diverged", "killed"])
def test_a_rank_that_fails_ends_the_others_and_is_told(launch, fails):
    """Seven processes would wait for the eighth until somebody looks at the bill."""
    workspace, run = launch
    expected = TrainingDiverged if fails == "diverged" else RuntimeError
    with pytest.raises(expected) as raised:
        run(fails)
    if fails == "diverged":
        assert raised.value.remedy == "lower it"
    deadline = time.monotonic() + 10
    pids = [int(path.read_text()) for path in workspace.work.glob("pid-*")]
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)
