"""The GPU benchmark runs where there is no GPU, so that the first one at hand is not wasted."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
SECTIONS = {"equality", "peak", "training", "kernels", "signals", "trainer"}


def test_a_smoke_run_passes_every_section(tmp_path):
    """An hour on a rented card that ends in a TypeError."""
    out = tmp_path / "gpu.jsonl"
    child = subprocess.run(
        [sys.executable, "-m", "infra.benchmarks.gpu", "--device", "cpu", "--tiny",
         "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {record["section"] for record in records} == SECTIONS
    assert not [record for record in records if "failed" in record]
    assert all(record["equal"] for record in records if record["section"] == "equality")
    measured = [record for record in records if record["section"] in ("training", "kernels")]
    assert all(record["samples_s"] > 0 for record in measured)
    assert "| section | case |" in child.stdout
