"""Mutual learning in a recipe: who reads what, and what is refused before anything runs."""

import json

import pytest

from data_contracts.errors import RecipeError
from flows.pipeline import run_steps
from flows.recipe.loading.files import check_recipe
from tests.flows.conftest import CommandLine


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

    run_steps(check_recipe(values, name="tiny"), write_down)
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


def test_a_teacher_that_learns_has_rows_to_be_examined_on(tiny):
    """Refused when the teacher has been fine-tuned and asked: it lacks its own validation rows."""
    values = values_of(tiny, peers=[], teacher=True)
    values["teacher"] |= {"languages": ["zh", "en"], "signals": {"roles": ["transfer"]}}
    values["co_teachers"] = {"other": dict(values["teacher"])}
    steps = walked(values)
    assert steps["signal-tokens"][0].roles == ("transfer", "validation", "test")
    # Nobody else is examined there: their keys stay as they are.
    assert steps["signal-tokens-other"][0].roles == ("transfer", "test")
    del values["mutual"]
    assert walked(values)["signal-tokens"][0].roles == ("transfer", "test")


def test_the_student_among_peers_may_have_companions(tiny):
    """Companions of a student that learns mutually: refused, or lost on the way to its step."""
    values = values_of(tiny)
    values["student"] |= {
        "languages": ["zh", "en"],
        "matching": [{"kind": "hidden_mse", "layers": "last"}],
        "adversary": {"groups": "language"},
        "ema": {"decay": 0.9},
    }
    values["distillation"] = {"train_on": ["transfer", "train"]}
    config, inputs = walked(values)["student-seed-0"]
    assert inputs["teacher"] == "teacher"
    assert inputs["teacher_tokens"] == "signal-tokens"
    assert config.ema.decay == 0.9
    assert config.adversary.groups == "language"
    assert [term.kind for term in config.matching] == ["hidden_mse"]
    plain, alone = walked(values_of(tiny))["student-seed-0"]
    assert not alone.keys() & {"teacher", "teacher_tokens"}
    assert not any((plain.matching, plain.adversary, plain.ema))


def test_a_student_without_peers_is_refused(tiny):
    """Mutual learning of one."""
    with pytest.raises(RecipeError, match="neither peers nor the teacher"):
        check_recipe(values_of(tiny, peers=[]), name="tiny")


def test_peers_cannot_draw_rows_by_language(tiny):
    """Told after the teacher's training, which may have taken a day."""
    values = values_of(tiny)
    values["student"]["training"]["language_temperature"] = 3.0
    with pytest.raises(RecipeError, match="rows are not drawn by language"):
        check_recipe(values, name="tiny")


@pytest.mark.slow
def test_a_run_with_several_teachers_and_peers_ends_in_the_registry(tiny, decant, tmp_path):
    """Steps that plan well, and a report or an export that cannot read what they left."""
    values = values_of(tiny, teacher=True)
    # Its words are English: of Chinese it reads little, which is no matter here.
    values["teacher"] |= {"languages": ["zh", "en"], "max_unknown_rate": 1.0}
    values["teacher"]["training"] |= {"language_temperature": 2.0}
    values["co_teachers"] = {"english": {**values["teacher"], "languages": ["en"]}}
    values["combination"] = {"weighting": "validation"}
    values["baselines"] = {"pseudo_labels": False, "supervised": False, "linear": False}
    values["registration"]["gates"]["min_gain_over_no_kd"] = None
    (tmp_path / "recipe.yaml").write_text(json.dumps(values, ensure_ascii=False))
    done = decant("run", tmp_path / "recipe.yaml", "--no-orchestrator", check=0)
    assert "tiny-en-zh, version 1" in done.stdout
    again = CommandLine(decant.folder)(
        "run", tmp_path / "recipe.yaml", "--no-orchestrator", check=0
    )
    assert "built in" not in again.stderr
    (student,) = (decant.home / "artifacts" / "student").glob("*/training.json")
    assert "peer_2_drift_kl" in json.loads(student.read_text())["peers"]
