"""Memory is measured on the real training, whose epoch is cut short but not its rows."""

import json
import re
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
import torch

from infra.benchmarks import machine, memory, report
from infra.benchmarks.first_steps import first_steps
from infra.benchmarks.settings import Settings
from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.runtime.progress import SilentProgress
from tasks.training.batching.batches import epoch_order
from tasks.training.batching.examples import Examples
from tasks.training.batching.ragged import RaggedIds
from tasks.training.engine.loop import train
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig

ROWS, READ, BATCH = 1000, 24, 8


@dataclass(frozen=True)
class Watched(Objective):
    """An objective that notes which rows it was given."""

    seen: list = field(default_factory=list)

    def terms(self, forward, batch, step):
        """As ever."""
        self.seen.append(step.rows.tolist())
        return super().terms(forward, batch, step)


def examples():
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 9, ROWS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Examples(
        example_ids=None,
        input_ids=RaggedIds(rng.integers(5, 50, offsets[-1]).astype(np.int32), offsets),
        labels=rng.integers(0, 3, ROWS),
        teacher_logits=rng.normal(size=(ROWS, 3)).astype(np.float32),
        label_names=("a", "b", "c"),
    )


def test_the_first_steps_are_those_of_the_order_of_all_rows(tmp_path):
    """A peak of a thousand rows, reported as that of ten million."""
    torch.manual_seed(0)
    shape = {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 32}
    backbone = build_student_backbone(
        StudentArchitecture(**shape), vocab_size=50, pad_token_id=0, max_length_tokens=16
    )
    model = EncoderClassifier(backbone, num_labels=3, pooling="mean", dropout=0.1)
    whole, objective = examples(), Watched(blend(0.8, 2.0))
    result = train(
        model,
        first_steps(whole, READ),
        objective,
        TrainingConfig(
            num_epochs=1,
            batch_size=BATCH,
            learning_rate=1e-3,
            validations_per_epoch=3,
            selection="accuracy",
        ),
        pad_token_id=0,
        validate=lambda _: {"accuracy": 0.5, "loss": 0.0},
        seed=7,
        work=tmp_path,
        progress=SilentProgress(),
    )
    order = epoch_order(whole.input_ids.lengths, batch_size=BATCH, seed=7, epoch=0)
    assert len(order) == ROWS // BATCH
    assert objective.seen == [order[step].tolist() for step in range(READ // BATCH)]
    assert max(row for rows in objective.seen for row in rows) >= READ
    assert [entry["step"] for entry in result.state.validations] == [1, 2, 3]


def test_fewer_rows_than_the_first_steps_are_an_epoch():
    """A smoke run that asks for rows beyond the last one."""
    assert len(first_steps(examples(), ROWS + 1)) == ROWS


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A smoke run at one size: its settings, and what it found."""
    folder = tmp_path_factory.mktemp("memory")
    settings = Settings(True, 1, folder / "work", folder / "results", memory_rows=(300,))
    return settings, memory.run(settings, "memory")


@pytest.mark.slow
def test_every_step_runs_in_a_process_of_its_own(measured):
    """A peak that an earlier step left behind, reported as the next one's."""
    _, found = measured
    (size,) = found["sizes"]
    assert size["rows"] == 300
    assert set(size["steps"]) == set(memory.STEPS)
    assert all(step["peak_mib"] > 20 for step in size["steps"].values())


@pytest.mark.slow
def test_signals_and_training_are_the_stages_own(measured):
    """A step called training that neither validates nor saves, on rows without a teacher."""
    import pyarrow.parquet as pq

    folder = measured[0].work / "scratch" / "memory-300"
    signals = memory._artifact(folder, "teacher_signals")
    tables = [pq.read_table(path) for path in (signals.path / "transfer").glob("*.parquet")]
    logits = np.array(pa.concat_tables(tables)["logits"].to_pylist())
    # A synthetic text may be a copy, which ingestion leaves out.
    assert 290 <= len(logits) <= 300
    assert np.isfinite(logits).all()
    assert np.ptp(logits, axis=0).min() > 0
    history = json.loads((folder / "output" / "history.json").read_text(encoding="utf-8"))
    steps = -(-len(logits) // 64)
    assert [entry["step"] for entry in history["validations"]] == [-(-steps // 2), steps]
    assert list((folder / "work" / "checkpoints").glob("step-*"))
    # Of the teacher's logits, not of labels alone.
    assert history["steps"][0]["loss_kd"] > 0


@pytest.mark.slow
def test_the_report_tells_what_training_was(measured, tmp_path):
    """Figures of a loop written for the benchmark, or of the engine: the reader cannot tell."""
    settings, found = measured
    steps = found["sizes"][0]["steps"]
    settings.results.mkdir()
    found = {
        **found,
        "training": {"steps": 48, "batch_size": 64, "validations": 2},
        "settings": settings.record(),
        "machine": machine.describe(),
        "seconds": 1.0,
    }
    (settings.results / "memory.json").write_text(json.dumps(found))
    text = report.write_report(settings.results, tmp_path).read_text(encoding="utf-8")
    assert "the first 48 steps of 64 in the order of all rows, 2 validations" in text
    assert "| rows | ingestion | tokenization | signals | loading | training |" in text
    assert re.search(rf"\| 300 \|.* {steps['signals']['peak_mib']:,.0f} \(", text)
    assert (tmp_path / "speed-memory.png").stat().st_size < 200_000
