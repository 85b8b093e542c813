"""The command that decision 0007 cites runs, and each of its systems does what its name says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from infra.benchmarks.embedding_updates import UPDATES, make_batch, prepared, step
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective

ROOT = Path(__file__).parents[3]
VOCABULARY = 200


def test_the_command_prints_every_system_at_every_size():
    """A decision cites a command that crashes before its first figure."""
    command = [sys.executable, "infra/benchmarks/embedding_updates.py", "--rounds", "2"]
    command += ["--vocab-sizes", "60", "200", "--batch-size", "2", "--length", "4"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"vocabulary +(\d+)  (\w+) .* ms \[.*\]  (\d+\.\d\d) x dense", done.stdout)
    assert [(size, name) for size, name, _ in found] == [
        (size, name) for size in ("60", "200") for name in UPDATES
    ]
    assert {ratio for _, name, ratio in found if name == "dense"} == {"1.00"}


@pytest.mark.parametrize("updates", UPDATES)
def test_a_timed_step_changes_the_embeddings_it_is_named_after(updates):
    """Three names for one and the same step: all ratios 1, and a decision built on them."""
    model, optimizer = prepared(updates, VOCABULARY, 6)
    weight = model.backbone.get_input_embeddings().weight
    batches = [make_batch(number, VOCABULARY, batch_size=3, length=6) for number in range(2)]
    for batch in batches[:1]:  # leaves momentum in the rows of the first
        step(model, optimizer, batch, Objective(blend(0.8, 2.0)))
    before = weight.detach().clone()
    assert step(model, optimizer, batches[1], Objective(blend(0.8, 2.0))) > 0
    changed = set(torch.nonzero((weight != before).any(1)).flatten().tolist())
    first, second = (set(batch.texts.input_ids.flatten().tolist()) for batch in batches)
    assert first - second
    expected = {"dense": first | second, "rows": second, "frozen": set()}[updates]
    # Dense AdamW decays rows that nobody read too.
    assert changed >= expected if updates == "dense" else changed == expected
