"""A tiny translation, from two columns of a file to a registered model, as a user would run it."""

import itertools
import json

import pytest

from tests.flows.conftest import CommandLine

ROOMS = {"kitchen": "厨房", "bedroom": "卧室", "garage": "车库", "garden": "花园", "hall": "走廊"}
THINGS = {"light": "灯", "heater": "暖气", "radio": "收音机", "window": "窗户"}
ACTIONS = {"open": "打开", "close": "关闭", "find": "找到", "clean": "清洁"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Path of a recipe over 80 sentences, with a teacher from scratch."""
    folder = tmp_path_factory.mktemp("translation")
    rows = [
        {"en": f"{action} the {thing} in the {room}", "zh": f"{a}{r}的{t}。"}
        for (action, a), (thing, t), (room, r) in itertools.product(
            ACTIONS.items(), THINGS.items(), ROOMS.items()
        )
    ]
    parts = {"train": rows[0::2], "validation": rows[1::4], "test": rows[3::4]}
    sources = []
    for role, chosen in parts.items():
        path = folder / f"{role}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
        columns = {"text": "en", "target_text": "zh"}
        source = {"name": role, "format": "jsonl", "uri": str(path), "role": role, "language": "en"}
        sources.append({**source, "columns": columns})
    shape = {"encoder_layers": 1, "decoder_layers": 1, "num_heads": 2, "intermediate_size": 32}
    training = {"num_epochs": 2, "batch_size": 16, "learning_rate": 0.005}
    decoding = {"max_length_tokens": 12}
    content = {
        "name": "tiny-translation",
        "problem": "translation",
        "source_language": "en",
        "target_language": "zh",
        "data": {"sources": sources, "deduplication": {"leak_threshold": None}},
        "teacher": {
            "tokenizer": {"kind": "bpe", "vocab_size": 200},
            "max_length_tokens": 24,
            "architecture": {**shape, "hidden_size": 32},
            "decoding": {**decoding, "num_beams": 2},
            "training": training,
        },
        "student": {
            "architecture": {**shape, "hidden_size": 16},
            "decoding": decoding,
            "training": training,
        },
        "distillation": {"on_policy": {"share": 0.5}},
        "evaluation": {
            "num_resamples": 100,
            "speed": {"latency_texts": 3, "latency_seconds": 0.2, "rounds_seconds": 0.2},
        },
        "registration": {
            "model_name": "tiny-translation",
            "example_texts": ["open the light in the hall"],
            "gates": {
                "max_drop_vs_teacher": 100,
                "min_gain_over_no_kd": -100,
                "min_int8_agreement": None,
                "max_latency_ms_p50": None,
            },
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML too
    return path


@pytest.mark.slow
def test_a_translation_ends_in_the_registry_and_a_second_run_is_all_cached(recipe, decant):
    """Every stage passed its own tests, and the command ended in a traceback."""
    first = decant("run", recipe, "--no-orchestrator", check=0)
    assert "tiny-translation, version 1 (challenger, champion)" in first.stdout
    assert "no distillation" in first.stdout
    assert "BLEU" in first.stdout
    second = CommandLine(decant.folder)("run", recipe, "--no-orchestrator", check=0)
    assert "built in" not in second.stderr
    assert second.stderr.count("cached") == 11
    assert second.stdout == first.stdout
