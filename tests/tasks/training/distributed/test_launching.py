"""torchrun around a stage's function: one writer, errors told whole, nobody left behind."""

import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from pydantic import BaseModel

from data_contracts.errors import TrainingDiverged
from tasks import distillation
from tasks.corpus.tables import write_table
from tasks.modeling.config import StudentArchitecture
from tasks.problems import load_model
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import Workspace, run_stage
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.distributed import launching
from tasks.training.distributed.launching import run_in_ranks
from tasks.training.objectives.config import ObjectiveConfig
from tasks.training.optimization.config import TrainingConfig

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

pytestmark = pytest.mark.slow


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
        "PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[4])])
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


@pytest.fixture
def tokens(publish, small_tokenizer, store):
    """Requests of five kinds as tokens: 150 to learn from, 40 to choose the step by."""
    kinds = ("打开{}的灯", "关闭{}的灯", "{}现在几度", "把{}的亮度调到百分之五十", "在{}播放音乐")
    rooms = ("客厅", "卧室", "厨房", "书房", "浴室", "阳台", "车库", "走廊")

    def write(output):
        for role, count in (("transfer", 150), ("validation", 40)):
            texts = [kinds[row % 5].format(rooms[row // 5 % 8]) for row in range(count)]
            ids = [text.ids for text in small_tokenizer.encode_batch(texts)]
            table = pa.table(
                {
                    "example_id": [f"{role}{row}".encode().hex().zfill(32)[:32] for row in
                                   range(count)],
                    "input_ids": pa.array(ids, pa.list_(pa.int32())),
                    "label": pa.array([row % 5 for row in range(count)], pa.int32()),
                    "language": ["zh"] * count,
                }
            )  # fmt: skip
            write_table(table, output / role / "part-00000.parquet")
        (output / "tokenizer").mkdir()
        small_tokenizer.save(str(output / "tokenizer" / "tokenizer.json"))
        size = small_tokenizer.get_vocab_size()
        facts = {"vocab_size": size, "pad_token_id": 0, "max_length_tokens": 16}
        (output / "tokens.json").write_text(json.dumps(facts))
        (output / "labels.json").write_text('{"labels": ["a", "b", "c", "d", "e"]}')

    return publish(store, "tokens", write)


def test_a_student_distilled_in_two_ranks_is_the_student_of_one(
    tokens, store, tmp_path, monkeypatch
):
    """A stage that loses its average, its record or its figures on the way through torchrun."""
    # Just above what is worth a second process, and without dropout, which each rank draws alone.
    shape = StudentArchitecture(
        num_layers=2, hidden_size=256, num_heads=4, intermediate_size=512, dropout=0.0
    )
    wanted = distillation.Config(
        architecture=shape,
        objective=ObjectiveConfig(alpha=0.0, temperature=1.0, hard_labels="gold"),
        training=TrainingConfig(
            num_epochs=4, batch_size=64, learning_rate=1e-3, precision="fp32", patience=9
        ),
        ema=EMAConfig(decay=0.5, weight=2.0),
    )
    launched = []

    def noted(function, *given, processes, **named):
        launched.append(processes)
        return run_in_ranks(function, *given, processes=processes, **named)

    monkeypatch.setattr(launching, "run_in_ranks", noted)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))
    found = {}
    for processes in (1, 2):
        monkeypatch.setenv("DECANT_PROCESSES", str(processes))
        other = ArtifactStore(tmp_path / f"of-{processes}")
        found[processes] = run_stage(
            distillation.STAGE, wanted, {"tokens": tokens}, store=other
        ).artifact
    assert launched == [2]
    one, two = found[1], found[2]
    assert one.key == two.key
    ours, theirs = (
        {name: fact for name, fact in student.manifest.facts.items()
         if "seconds" not in name and name != "threads"}
        for student in (one, two)
    )  # fmt: skip
    assert ours["validation_accuracy"] > 0.9, "nothing was learned"
    assert ours == pytest.approx(theirs, abs=2e-4)
    record = [(student.path / "training.json").read_bytes() for student in (one, two)]
    assert record[0] == record[1]
    curves = [json.loads((student.path / "history.json").read_text()) for student in (one, two)]
    for what in ("steps", "validations"):
        for mine, yours in zip(curves[0][what], curves[1][what], strict=True):
            assert mine == pytest.approx(yours, rel=1e-3, abs=1e-4)
    assert curves[0]["validations"][-1]["share_ema"] > 0
    left, right = (load_model(student.path / "model").state_dict() for student in (one, two))
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
