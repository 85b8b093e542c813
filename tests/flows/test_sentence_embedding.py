"""Sentence embeddings from files to the registry, by a student that reads both languages."""

import json

import pytest

from tests.flows.conftest import pairs, write_csv, write_teacher


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
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
def test_unlabelled_pairs_become_a_registered_sentence_encoder(recipe, decant):
    """Each step fits its neighbours, but none of them the next: nothing is ever registered."""
    first = decant("run", recipe, "--no-orchestrator", check=0)
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
    second = decant("run", recipe, "--no-orchestrator", check=0)
    assert "built in" not in second.stderr
    assert second.stdout == first.stdout
