"""Mutual learning in a recipe: who reads what, and what is refused before anything runs."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.pipeline import pour
from flows.recipe_files import check_recipe


def values_of(tiny, **mutual):
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    peer = {
        "tokenizer": {"kind": "wordpiece", "vocab_size": 90},
        "max_length_tokens": 16,
        "architecture": {
            "num_layers": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16
        },
    }  # fmt: skip
    return {**values, "mutual": {"weight": 0.5, "peers": [peer], **mutual}}


def walked(values):
    """Name of each step → (its configuration, names of its inputs' steps)."""
    found = {}

    def write_down(name, stage, config, /, **inputs):
        found[name] = (config, inputs)
        return name

    pour(check_recipe(values, name="tiny"), write_down)
    return found


def test_each_peer_reads_its_own_tokens_and_all_the_teacher_s_signals(tiny):
    """A peer that reads the student's ids with an embedding of its own."""
    steps = walked(values_of(tiny))
    config, inputs = steps["student-seed-0"]
    assert inputs == {
        "tokens_0": "student-tokens", "tokens_1": "peer-tokens-1", "signals": "teacher-signals"
    }  # fmt: skip
    assert steps["peer-tokens-1"][0].tokenizer.vocab_size == 90
    assert [peer.architecture.num_layers for peer in config.peers] == [2, 1]
    assert config.mutual.weight == 0.5
    # Baselines stay what they are: students that learn alone.
    assert "tokens" in steps["supervised-seed-0"][1]


def test_the_teacher_may_be_a_peer(tiny):
    """Its drift, measured on texts that it cannot read."""
    values = values_of(tiny, peers=[], teacher=True)
    with pytest.raises(RecipeError, match=r"name that in teacher\.languages"):
        check_recipe(values, name="tiny")
    values["teacher"]["languages"] = ["zh", "en"]
    config, inputs = walked(values)["student-seed-0"]
    assert inputs["teacher"] == "teacher"
    assert inputs["tokens_1"] == "signal-tokens"
    assert config.peers[1].architecture is None


def test_a_student_without_peers_is_refused(tiny):
    """Mutual learning of one."""
    with pytest.raises(RecipeError, match="neither peers nor the teacher"):
        check_recipe(values_of(tiny, peers=[]), name="tiny")
