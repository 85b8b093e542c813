"""The GPU benchmark runs where there is no GPU, so that the first one at hand is not wasted."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from infra.benchmarks.gpu_figures import judged, targets_table
from infra.benchmarks.gpu_syncs import synchronisations
from tasks.runtime.machine.device import has_cuda

ROOT = Path(__file__).parents[3]
SECTIONS = {"equality", "peak", "training", "syncs", "kernels", "signals", "trainer"}


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
    # Found among the records by their cases' names; what only a GPU has is not made up.
    told = {line.split(" | ")[0]: line for line in child.stdout.splitlines()}
    measured = next(record for record in records if record["section"] == "training")
    assert told["| samples a second, small student"].split(" | ")[2] == (
        f"{measured['samples_s']:,}"
    )
    assert "not measured" not in told["| share of the measured peak, training the wide student"]
    assert "not measured" not in told["| share of the measured peak, the teacher reading"]
    assert "not measured" in told["| waits for the device in a step"]


def test_figures_are_held_against_their_targets():
    """A speed-up over another loop than the one named, or a miss that reads like a hit."""
    small = {"samples_s": 120_000, "share_of_peak": 0.2, "loader_idle": 0.02}
    records = [
        {"section": "training", "case": "small 6x384", **small},
        {"section": "training", "case": "small 6x384 as graphs", "samples_s": 1},
        {"section": "training", "case": "wide 6x768", "samples_s": 5, "share_of_peak": 0.44},
        {"section": "signals", "case": "teacher", "share_of_peak": 0.5},
        {"section": "trainer", "case": "Hugging Face Trainer as it comes", "samples_s": 1000},
        {"section": "trainer", "case": "Hugging Face Trainer tuned", "samples_s": 5000},
        {"section": "syncs", "case": "one step", "syncs": 0},
    ]
    found = {one["figure"]: (one["measured"], one["held"]) for one in judged(records)}
    assert found == {
        "samples a second, small student": (120_000, True),
        "times Hugging Face Trainer, tuned": (24.0, False),
        "times Hugging Face Trainer, as it comes": (120.0, True),
        "share of the measured peak, training the wide student": (0.44, False),
        "share of the measured peak, the teacher reading": (0.5, True),
        "loader idle": (0.02, False),
        "waits for the device in a step": (0, True),
    }
    failed = [{"section": "training", "case": "small 6x384", "failed": "no kernel"}]
    assert {one["held"] for one in judged(failed)} == {None}
    table = targets_table(judged(failed))
    assert "| samples a second, small student | >= 120,000 |  | not measured |" in table
    assert "| 24.0 | **no** |" in targets_table(judged(records))


def test_only_waits_for_the_device_are_counted():
    """A step called free of waits because nobody listened, or blamed for a deprecation."""
    with synchronisations(on_gpu=False) as found:
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation", UserWarning, stacklevel=1)
        warnings.warn("this will be removed", DeprecationWarning, stacklevel=1)
    assert len(found) == 2
    assert all("test_gpu.py:" in place for place in found)


@pytest.mark.skipif(has_cuda(), reason="where there is a GPU it is measured")
def test_without_a_gpu_the_section_is_refused_before_anything_runs(tmp_path):
    """Other sections measured for an hour, and then a traceback."""
    child = subprocess.run(
        [sys.executable, "-m", "infra.benchmarks", "tokenize", "gpu", "--work", str(tmp_path),
         "--results", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert child.returncode == 2, child.stderr
    assert "no CUDA device" in child.stdout
    assert not list(tmp_path.iterdir())
