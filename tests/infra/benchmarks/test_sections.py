"""Every section that needs no peer's package runs at its smallest size, and the report renders."""

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from infra.benchmarks import machine, memory, report, scoring, synthetic, tokenizing
from infra.benchmarks.gpu_figures import judged
from infra.benchmarks.settings import Settings
from infra.benchmarks.several_seeds import Trained

ROOT = Path(__file__).parents[3]
MATERIAL = {
    "rows": 701,
    "student_tokens_mean": 31.6,
    "student": "4 x 384",
    "student_parameters": 12_167_047,
    "teacher_parameters": 117_508_615,
    "batch_size": 32,
    "learning_rate": 2e-4,
    "alpha": 1.0,
    "temperature": 2.0,
    "epochs": 8,
}


@pytest.fixture
def settings(tmp_path):
    return Settings(
        tiny=True,
        num_rounds=1,
        work=tmp_path / "work",
        results=tmp_path / "results",
    )


def keep(settings, section, found):
    """What __main__ writes around a section's result."""
    settings.results.mkdir(exist_ok=True)
    result = {
        "settings": settings.record(),
        "machine": machine.describe(),
        "seconds": 1.0,
        **json.loads(json.dumps(found)),
    }
    (settings.results / f"{section}.json").write_text(json.dumps(result))


def test_synthetic_texts_are_distinct_and_as_long_as_real_ones():
    """Ten million copies of a few texts: deduplication leaves nothing to measure."""
    real = synthetic.real_texts(rows_per_intent=5)
    texts = pa.chunked_array(list(synthetic.blocks(2500, real, block_rows=1000))).to_pylist()
    assert len(texts) == 2500
    assert len(set(texts)) > 2490
    lengths = np.array([len(text) for text in texts])
    assert abs(lengths.mean() / np.mean([max(6, len(text)) for text in real]) - 1) < 0.05


def test_seconds_to_scores_are_those_of_trainings_that_stop_there():
    """A system that goes on to the end is charged for it, or one that waits for a core is not."""
    curve = ((2.0, 10, 0.5), (4.0, 20, 0.9), (6.0, 30, 0.8))
    scores = [0.9, 0.5, 0.7]
    one_by_one = Trained(20.0, (curve,) * 3, shared_seconds=1.0)
    assert one_by_one.seconds_to(scores) == 1 + 4 + 2 + 4
    assert one_by_one.seconds_of_one(scores) == 1 + (4 + 2 + 4) / 3
    # Two at a time: the first takes 4, the second 2, and the third begins after the second.
    two = Trained(20.0, (curve,) * 3, shared_seconds=1.0, num_side_by_side=2)
    assert two.seconds_to(scores) == 1 + 2 + 4
    assert two.best == [0.9, 0.9, 0.9]


def test_students_of_a_recipe_are_told_with_the_command_that_measures_them(settings, tmp_path):
    """A table that nobody can reproduce, or times of one column under another."""
    targets = [
        {
            "tolerance": 0.005,
            "scores": [0.8],
            "seconds": {"decant": [2.0], "textbrewer": [10.0]},
            "seconds_of_one": {"decant": [1.5], "textbrewer": [3.0]},
        },
        {
            "tolerance": 0.01,
            "scores": [0.7],
            "seconds": {"decant": [1.0], "textbrewer": [7.0]},
            "seconds_of_one": {"decant": [1.0], "textbrewer": [9.0]},
        },
    ]
    systems = {
        "decant": {"seconds": [4.0], "best": [0.81], "points": [[[2.0, 5, 0.7], [3.9, 9, 0.81]]]},
        "textbrewer": {"seconds": [12.0], "best": [0.805], "points": [[[11.0, 9, 0.805]]]},
    }
    found = {"material": MATERIAL, "num_students": 1, "targets": targets, "systems": systems}
    keep(settings, "train-seeds-sib200", found)
    text = report.write_report(settings.results, tmp_path).read_text(encoding="utf-8")
    numbers = "3.0 | 2.0 | 10.0 | 5.0 | 9.0 | 9.0 | 7.0 | 7.0 | 12.0 | 3.0"
    assert f"| TextBrewer GeneralDistiller | {numbers} | 80.50 % |" in text
    assert "validation (2 times each)" in text
    assert "8 epochs instead of the recipe's 20" in text
    assert "`infra/benchmarks/run train-seeds-sib200 --sib200 DIR --multilingual-model DIR`" in text


def test_rounds_of_several_students_are_told_with_their_quartiles(settings, tmp_path):
    """A ratio of 4.2 on a shared machine that was 2 in the round before."""
    ours, theirs = [2.0, 4.0, 3.0], [12.0, 12.0, 12.0]
    found = {
        "material": {**MATERIAL, "epochs": 2},
        "num_students": 1,
        "targets": [],
        "systems": {
            "decant": {"seconds": ours, "best": [0.8], "points": [[[1.0, 5, 0.8]]]},
            "textbrewer": {"seconds": theirs, "best": [0.9], "points": [[[9.0, 5, 0.9]]]},
        },
    }
    keep(settings, "train-seeds", found)
    text = report.write_report(settings.results, tmp_path).read_text(encoding="utf-8")
    assert "| **Decant** | 3.0 [2.5, 3.5] |  | 80.00 % |" in text
    # Times of the rounds: 6, 3, 4.
    assert "| TextBrewer GeneralDistiller | 12.0 [12.0, 12.0] | 4.0 [3.5, 5.0] | 90.00 % |" in text


def test_a_result_without_a_field_of_today_is_named_and_the_others_are_told(settings, tmp_path):
    """An hour of measuring that ends in KeyError: 'points', with no report of anything."""
    old = {"decant": {"seconds": [4.0], "best": [0.8]}}
    found = {"material": MATERIAL, "num_students": 1, "targets": [], "systems": old}
    keep(settings, "train-seeds-sib200", found)
    new = {"decant": {**old["decant"], "points": [[[1.0, 5, 0.8]]]}}
    keep(settings, "train-seeds", {**found, "systems": new})
    text = report.write_report(settings.results, tmp_path).read_text(encoding="utf-8")
    assert "| **Decant** | 4.0 |  | 80.00 % |" in text
    assert "## Distillation: sib200" not in text
    line = next(line for line in text.splitlines() if line.startswith("train-seeds-sib200: "))
    assert "before 'points' was recorded" in line
    assert "`infra/benchmarks/run train-seeds-sib200 --sib200 DIR --multilingual-model DIR`" in line


def test_a_system_without_a_name_is_a_defect_and_no_old_result(settings, tmp_path):
    """`measure it again`, said of three hours of figures that the report has no word for."""
    one = {"seconds": [4.0], "best": [0.8], "points": [[[1.0, 5, 0.8]]]}
    found = {"material": MATERIAL, "num_students": 1, "targets": [], "systems": {"decant": one}}
    keep(settings, "train-seeds", {**found, "systems": {"decant": one, "newcomer": one}})
    with pytest.raises(KeyError, match="newcomer"):
        report.write_report(settings.results, tmp_path)
    del one["best"]  # of an old result it is still said, at whatever depth
    keep(settings, "train-seeds", found)
    text = report.write_report(settings.results, tmp_path).read_text(encoding="utf-8")
    assert "train-seeds: measured before 'best' was recorded" in text


def test_a_gpu_is_told_with_its_targets(settings, tmp_path):
    """A card that missed its target, in a table of tokens a second."""
    records = [
        {"section": "peak", "case": "8192 x 8192", "device": "NVIDIA X", "torch": "2.13"},
        {"section": "training", "case": "small 6x384", "samples_s": 90_000},
    ]
    keep(settings, "gpu", {"records": records, "targets": judged(records)})
    text = report.write_report(settings.results, tmp_path).read_text(encoding="utf-8")
    assert "NVIDIA X, torch 2.13; " in text
    assert "| samples a second, small student | >= 120,000 | 90,000 | **no** |" in text
    assert "| training | small 6x384 | 90000 |" in text
    assert "`infra/benchmarks/run gpu`" in text
    assert "1 rounds" not in text


def test_the_kept_results_are_rendered(tmp_path):
    """A report that nobody can write from the figures the repository ships."""
    results = ROOT / "infra" / "benchmarks" / "results"
    text = report.write_report(results, tmp_path).read_text(encoding="utf-8")
    assert text == (ROOT / "infra" / "benchmarks" / "speed.md").read_text(encoding="utf-8")
    names = sorted(path.stem for path in results.glob("*.json"))
    assert "score" in names
    for name in names:
        assert text.count(f"`infra/benchmarks/run {name}`") == 1 or re.search(
            rf"`infra/benchmarks/run {name} --", text
        ), name
    assert re.search(r"\*\*Decant\*\*, `decant score`, int8 \| [\d,]+ \[", text)


@pytest.mark.slow
def test_tokenization_loading_and_scoring_run_and_are_told(settings, tmp_path):
    """The benchmark of last quarter no longer runs on the day it is asked for."""
    for module, section in ((tokenizing, "tokenize"), (scoring, "score")):
        keep(settings, section, module.run(settings, section))
    # As a person runs it: a section in a process of its own, its result where it says.
    command = [sys.executable, "-m", "infra.benchmarks", "--tiny", "--work", str(settings.work)]
    done = subprocess.run([*command, "load"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = settings.work / "tiny-results" / "load.json"
    made.rename(settings.results / "load.json")
    text = report.write_report(settings.results, tmp_path).read_text()
    for title in ("## Tokenization to Parquet", "## Loading on one core", "## Scoring"):
        assert title in text
    assert re.search(r"\*\*Decant\*\*, `decant score`, int8 \| [\d,]+ \[", text)
    assert str(tmp_path) not in text


def test_slopes_are_those_of_the_two_largest_sizes():
    """A slope over the first sizes is that of the imports."""

    def size(rows, mib, seconds):
        step = {"peak_mib": mib, "seconds": seconds}
        return {"rows": rows, "steps": dict.fromkeys(memory.STEPS, step)}

    found = memory.slopes([size(10, 900, 9), size(1_000_000, 100, 5), size(2_000_000, 200, 15)])
    assert found["loading"]["bytes_a_row"] == pytest.approx(100 * 2**20 / 1e6)
    assert found["loading"]["microseconds_a_row"] == pytest.approx(10)


def test_a_training_result_is_told_with_its_conditions(settings, tmp_path):
    """A speed-up without the score that both reached, the tolerance and the loss check."""
    from infra.benchmarks.engine import Curve
    from infra.benchmarks.rounds import summary
    from infra.benchmarks.training import targets

    curves = {
        "decant": Curve(
            ((2.0, 5, 0.5), (4.0, 10, 0.9)), 4.0, {"teacher signals": 1.0, "training": 3.0}
        ),
        "trainer_tuned": Curve(((9.0, 5, 0.88), (20.0, 10, 0.89)), 20.0, {}),
    }
    (aim,) = targets(curves, num_texts=1000)
    assert aim["score"] == pytest.approx(0.885)
    assert aim["seconds"] == {"decant": 4.0, "trainer_tuned": 20.0}
    # Of 100 texts, half a point is half a text: one text less is 88 %, which was there before.
    assert targets(curves, num_texts=100)[1]["seconds"] == {"decant": 4.0, "trainer_tuned": 9.0}
    rates = {"decant": summary([100.0]), "trainer_tuned": summary([25.0])}
    found = {
        "material": {
            "rows": 10, "student_tokens_mean": 9.0, "student_tokens_max": 20,
            "max_length_tokens": 48, "student": "2 x 192", "student_parameters": 5,
            "teacher_parameters": 50, "batch_size": 2, "epochs": 1, "learning_rate": 0.001,
            "alpha": 0.8, "temperature": 2.0, "teacher_tokens_mean": 8.0,
        },
        "loss_agreement": {"decant": 1.0, "trainer": 1e-7},
        "last_loss_agreement": {
            "steps": 30, "before": 1.0, "decant": 0.25, "trainer": 2e-7, "textbrewer": 0.0,
        },
        "signal_precision": "fp32",
        "signal_agreement": {
            "same_choice": 1.0,
            "largest_difference": 1e-3,
            "standard_deviation": 1.0,
        },
        "targets": targets(curves, num_texts=100),
        "curves": {name: asdict(curve) for name, curve in curves.items()},
        "when": {"trainer_tuned": "2020-01-01, commit abc", "rates": "2020-01-01, commit abc"},
        "rates": {name: rate.record() for name, rate in rates.items()},
        "ratios": {"trainer_tuned": summary([4.0]).record()},
    }  # fmt: skip
    keep(settings, "train-quickstart", found)
    text = report.write_report(settings.results, tmp_path).read_text()
    assert (
        "| Hugging Face Trainer KD, tuned | 20.0 | 5.0 | 9.0 | 2.2 | 20.0 | 5.0 | 89.00 % |" in text
    )
    assert "less 0.5 points (fixed beforehand) or less 1.0 points (one text)" in text
    assert "so all are clocked, Decant's 2 too." in text
    assert "After 30 steps" in text
    assert "is 0.250000, from 1.000000; the others differ by 2e-07 (trainer), 0 (text" in text
    assert (
        "Measured at another time: 2020-01-01, commit abc: Hugging Face Trainer KD, tuned, " in text
    )
    assert (tmp_path / "speed-train-quickstart.png").exists()
    keep(settings, "train-quickstart", {**found, "rates": {}, "ratios": {}})
    assert "Samples a second" not in report.write_report(settings.results, tmp_path).read_text()


def test_a_section_that_fails_is_told_and_leaves_no_result(settings):
    """A report with yesterday's figures for a section that no longer runs."""
    command = [sys.executable, "-m", "infra.benchmarks", "--tiny", "--work", str(settings.work)]
    nowhere = str(settings.work / "nowhere")
    command += ["train-sib200", "--sib200", nowhere, "--multilingual-model", nowhere]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "train-sib200: FAILED after" in done.stdout
    assert not (settings.work / "tiny-results" / "train-sib200.json").exists()
