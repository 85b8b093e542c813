"""The whole pipeline on a tiny problem, through the command line, as a user would run it."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.flows.conftest import CommandLine, pairs, write_csv, write_teacher


def published(home):
    """Content digest of every artifact, by stage and key: what two runs must agree on."""
    found = {}
    for path in (home / "artifacts").glob("*/*/manifest.json"):
        manifest = json.loads(path.read_text())
        found[path.parent.parent.name, path.parent.name] = manifest["content_digest"]
    return found


def trained(home):
    """Digests of what must be bit-identical: everything but measured times and the registry."""
    return {
        name: digest
        for name, digest in published(home).items()
        if name[0] not in ("evaluation", "registration", "teacher", "student", "export")
    } | {
        path.relative_to(home).parts: path.read_bytes()
        for path in (home / "artifacts").glob("*/*/*/model.safetensors")
    }


@pytest.mark.slow
def test_a_run_ends_in_the_registry_and_a_second_one_is_all_cached(
    tiny, finished, tmp_path, monkeypatch
):
    """The one command that everything else is for."""
    first = finished[1]
    decant = CommandLine(finished[0].folder)  # as a user calls it, nothing imported beforehand
    assert "tiny-en-zh, version 1 (challenger, champion)" in first.stdout
    assert "student" in first.stdout
    second = decant("run", tiny / "recipe.yaml", "--no-orchestrator", check=0)
    assert "built in" not in second.stderr
    assert second.stderr.count("cached") == 12
    assert second.stdout == first.stdout

    plan = decant("plan", tiny / "recipe.yaml", check=0)
    assert "12 cached, 0 to run" in plan.stdout
    change = "student.training.learning_rate=0.001"
    plan = decant("plan", tiny / "recipe.yaml", "--set", change, check=0)
    assert "config.training.learning_rate 0.003 → 0.001" in plan.stdout
    assert "6 cached, 6 to run" in plan.stdout

    status = decant("status", check=0).stdout
    assert "completed" in status
    version = "tiny-en-zh version 1 (challenger, champion)"
    assert version in status
    with monkeypatch.context() as elsewhere:  # where nobody ran anything, of the same registry
        elsewhere.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{decant.home / 'mlflow.db'}")
        status = CommandLine(tmp_path)("status", check=0).stdout
    assert status.startswith("nothing was ever run")
    assert version in status
    lineage = decant("lineage", "tiny-en-zh", check=0).stdout
    assert str(tiny / "zh-pairs.csv") in lineage
    path = decant("report", tiny / "recipe.yaml", check=0).stdout.strip()
    assert "<html" in Path(path).read_text(encoding="utf-8")
    told = decant("gc", "--days", "0", check=0).stdout
    assert told == "0 bytes to remove (add --delete)\n"


@pytest.mark.slow
def test_the_registered_student_scores_a_file_of_texts(finished, tmp_path):
    """Every part of scoring worked, and the command ended in a traceback."""
    import pyarrow.parquet as pq

    decant, _ = finished
    (tmp_path / "texts.csv").write_text("text\n打开厨房的灯\n\n关掉客厅的灯\n", encoding="utf-8")
    found = tmp_path / "labels.parquet"
    done = decant("score", "models:/tiny-en-zh@champion", tmp_path / "texts.csv", found, check=0)
    assert "2 of 3 rows scored" in done.stdout
    rows = pq.read_table(found).to_pylist()
    assert [row["line"] for row in rows] == [2, 3, 4]
    assert [row["label"] is not None for row in rows] == [True, False, True]
    assert rows[1]["reason"] == "blank_line"


@pytest.mark.slow
def test_broken_rows_are_set_aside_with_reasons_and_the_run_goes_on(tiny, decant, tmp_path):
    """One bad line in a user's file would end the run, or vanish without a trace."""
    import pyarrow.parquet as pq

    recipe = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    good = (tiny / "en-train.csv").read_text(encoding="utf-8")
    mine = tmp_path / "mine.csv"
    mine.write_text(good + ",on\n打开厨房的灯,on\nturn it on,\n", encoding="utf-8")
    recipe["data"]["sources"][0]["uri"] = str(mine)
    recipe["data"]["max_quarantine_rate"] = 0.1
    recipe["baselines"] = {"pseudo_labels": True, "supervised": False, "linear": False}
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe))
    decant("run", tmp_path / "mine.yaml", "--no-orchestrator", check=0)
    (corpus,) = (decant.home / "artifacts" / "corpus").iterdir()
    rows = pq.read_table(corpus / "quarantine").to_pylist()
    assert [row["line"] for row in rows] == [62, 63, 64]  # the header is line 1
    assert all(row["source"] == "en-train" and row["reason"] for row in rows)
    assert len({row["reason"] for row in rows}) == 3
    counts = json.loads((corpus / "manifest.json").read_text())["row_counts"]
    assert counts["rows_in"] == counts["rows_out"] + 3 + sum(counts["deduplicated"].values())


@pytest.mark.slow
def test_killed_at_every_step_the_same_command_ends_as_an_undisturbed_run(tiny, finished, decant):
    """A machine that dies would leave half an artifact, or another student than it should."""
    undisturbed, _ = finished
    for stage in ("corpus", "tokens", "teacher", "teacher_signals", "student", "export"):
        process = decant.start("run", tiny / "recipe.yaml", "--no-orchestrator")
        deadline = time.monotonic() + 120
        # The moment the stage's work folder appears, it is in the middle of it.
        while not any((decant.home / "work" / stage).glob("*")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    done = decant("run", tiny / "recipe.yaml", "--no-orchestrator", check=0)
    assert "✓ teacher-tokens           cached" in done.stderr
    assert trained(decant.home) == trained(undisturbed.home)
    decant("gc", "--delete", check=0)
    assert not any((decant.home / "tmp").glob("*"))


@pytest.mark.slow
def test_two_runs_at_once_build_once_and_register_once(tiny, decant):
    """A schedule and a person would train twice and register two versions of one student."""
    runs = [decant.start("run", tiny / "recipe.yaml", "--no-orchestrator") for _ in range(2)]
    said = [run.communicate(timeout=280)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    lines = [line for text in said for line in text.splitlines() if line.startswith("✓")]
    assert len(lines) == 24
    assert sum("built in" in line for line in lines) == 12
    (record,) = (decant.home / "artifacts" / "registration").glob("*/record.json")
    assert json.loads(record.read_text())["version"] == 1


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """A recipe over CSV files of 90 pairs and a teacher with random weights."""
    folder = tmp_path_factory.mktemp("vectors")
    write_teacher(folder / "teacher")
    rows = [(chinese, english) for _, english, chinese in pairs()]
    parts = {"transfer": rows[0::3] + rows[1::3], "validation": rows[2::6], "test": rows[5::6]}
    sources = []
    for role, chosen in parts.items():
        write_csv(folder / f"{role}.csv", ["zh", "en"], chosen)
        source = {"name": role, "format": "csv", "uri": str(folder / f"{role}.csv"), "role": role}
        columns = {"text": "zh", "parallel_text": "en"}
        sources.append({**source, "language": "zh", "parallel_language": "en", "columns": columns})
    # The source text itself is learned too (Reimers & Gurevych 2020, equation 1).
    english = {"name": "english", "language": "en", "columns": {"text": "en"}}
    sources.append({**sources[0], **english, "parallel_language": None})
    path = folder / "recipe.yaml"
    values = {
        "name": "vectors",
        "problem": "sentence_embedding",
        "source_language": "en",
        "target_language": "zh",
        "data": {"sources": sources, "deduplication": {"leak_threshold": None}},
        "teacher": {"model": str(folder / "teacher"), "max_length_tokens": 24},
        "student": {
            "languages": ["zh", "en"],
            "tokenizer": {"kind": "wordpiece", "vocab_size": 200},
            "max_length_tokens": 24,
            "architecture": {"num_layers": 1, "hidden_size": 48, "num_heads": 2, "dropout": 0.0},
            "training": {
                "num_epochs": 25,
                "batch_size": 16,
                "learning_rate": 0.003,
                "patience": 25,
            },
        },
        "distillation": {
            "terms": [
                {"kind": "embedding_mse"},
                {"kind": "embedding_contrast", "weight": 0.1},
            ]
        },
        "baselines": {"pseudo_labels": False, "supervised": False},
        "export": {"min_int8_agreement": 0.0},
        "evaluation": {
            "num_resamples": 100,
            "speed": {"latency_texts": 5, "latency_seconds": 0.2, "rounds_seconds": 0.2},
        },
        "registration": {
            "model_name": "vectors-en-zh",
            "gates": {
                "max_drop_vs_teacher": 100,
                "min_gain_over_no_kd": None,
                "min_int8_agreement": 0,
                "max_latency_ms_p50": None,
            },
        },
    }
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.slow
def test_unlabelled_pairs_become_a_registered_sentence_encoder(vectors, decant):
    """Each step fits its neighbours, but none of them the next: nothing is ever registered."""
    first = decant("run", vectors, "--no-orchestrator", check=0)
    assert "vectors-en-zh, version 1 (challenger, champion)" in first.stdout
    (path,) = (decant.home / "artifacts" / "evaluation").glob("*/report.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    assert [metric["name"] for metric in report["metrics"]][:2] == ["accuracy_at_1", "mrr"]
    systems = report["systems"]
    assert systems["teacher"]["mean"]["accuracy_at_1"] == 1.0
    learned = systems["student"]["mean"]["mrr"] - systems["character_ngrams"]["mean"]["mrr"]
    assert learned > 0.2
    (counts,) = (decant.home / "artifacts" / "student").glob("*/training.json")
    # 60 pairs read in Chinese, and their English sides once more.
    assert json.loads(counts.read_text())["num_examples"] == 120
    second = CommandLine(decant.folder)("run", vectors, "--no-orchestrator", check=0)
    assert "built in" not in second.stderr
    assert second.stdout == first.stdout


@pytest.mark.slow
def test_a_student_with_all_companions_ends_in_the_registry(tiny, before_students, tmp_path):
    """Companions that plan well together, and rows that one of them cannot be trained on."""
    decant = before_students
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["student"] |= {
        "languages": ["zh", "en"],
        "matching": [{"kind": "hidden_mse", "layers": "last", "weight": 0.5}, {"kind": "cka"}],
        "adversary": {"groups": "language", "max_lambda": 0.3},
        "ema": {"decay": 0.9, "weight": {"kind": "linear", "start": 0.0, "end": 1.0}},
    }
    values["distillation"] = {"train_on": ["transfer", "train"]}
    values["baselines"] = {"pseudo_labels": False, "supervised": False, "linear": False}
    values["registration"]["gates"]["min_gain_over_no_kd"] = None
    values["registration"]["model_name"] = "companions-en-zh"
    (tmp_path / "recipe.yaml").write_text(json.dumps(values, ensure_ascii=False))
    done = decant("run", tmp_path / "recipe.yaml", "--no-orchestrator", check=0)
    assert "companions-en-zh, version 1" in done.stdout
    (path,) = (decant.home / "artifacts" / "student").glob("*/history.json")
    history = json.loads(path.read_text(encoding="utf-8"))
    titles = {"kd", "hard", "hidden_mse", "cka", "adversary", "ema"}
    first, last = history["steps"][0], history["steps"][-1]
    assert {name[5:] for name in last if name.startswith("loss_")} == titles
    assert 0 <= first["weight_ema"] < last["weight_ema"] <= 1
    assert last["adversary_lambda"] > 0.1
    assert last["loss_hidden_mse"] < first["loss_hidden_mse"]
    for entry in history["validations"]:
        shares = {name[6:]: value for name, value in entry.items() if name.startswith("share_")}
        assert shares.keys() == titles
        assert sum(shares.values()) == pytest.approx(1)
    names = load_file(path.parent / "model" / "model.safetensors").keys()
    strange = ("student.", "classifier.", "average.", "adversary.", "projections.")
    assert names
    assert not [name for name in names if name.startswith(strange)]
