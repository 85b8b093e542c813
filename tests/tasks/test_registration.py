import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts.errors import GateRefused, TransientError, UserError
from tasks.registration import STAGE, Config, lineage, promote, rollback, still_holds, versions
from tasks.runtime.stages import run_stage
from tasks.serving.registry.gates import GatesConfig
from tasks.serving.registry.registry import Registry

ROOT = Path(__file__).parents[2]
EXAMPLES = ("打开客厅的灯",)


@pytest.fixture
def register(registry_home, store, exported, make_report, publish_evaluation):
    """Register the small student under a name, with a report of chosen figures."""

    def run(name, *, gates=None, promote=True, export=exported, answers=None, **figures):
        report = publish_evaluation(store, make_report(**figures), **(answers or {}))
        config = Config(
            model_name=name, gates=gates or GatesConfig(), promote=promote, example_texts=EXAMPLES
        )
        inputs = {"export": export, "evaluation": report}
        outcome = run_stage(STAGE, config, inputs, store=store)
        return outcome, json.loads((outcome.artifact.path / "record.json").read_text())

    return run


@pytest.fixture
def another_export(exported, publish, store):
    """The same student with another label name: other answers, so another version."""

    def make(suffix):
        def write(output):
            import shutil

            shutil.copytree(exported.path, output, dirs_exist_ok=True)
            (output / "manifest.json").unlink()
            labels = json.loads((output / "model" / "labels.json").read_text())["labels"]
            labels[0] += suffix
            (output / "model" / "labels.json").write_text(json.dumps({"labels": labels}))

        return publish(store, "export", write, config={"suffix": suffix})

    return make


def test_a_passing_student_becomes_champion_with_all_its_papers(register, registry_home):
    """A model in the registry that nobody can trace or judge is one nobody may use."""
    outcome, record = register("papers")
    assert not outcome.cached
    assert record["version"] == 1
    assert record["aliases"] == {"challenger": 1, "champion": 1}
    assert all(gate["passed"] for gate in record["gates"])
    (listed,) = versions("papers")
    assert listed.aliases == ("challenger", "champion")
    assert listed.digest == record["digest"]
    registry = Registry()
    run = registry.client.get_run(record["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["student/accuracy"] == 0.95
    assert run.data.params["target_language"] == "zh"
    curve = registry.client.get_metric_history(record["run_id"], "train/loss")
    assert [(point.step, point.value) for point in curve][:2] == [(1, 1.0), (2, 0.5)]
    with registry.run_files("papers", 1, "evaluation") as files:
        assert {path.name for path in files.iterdir()} == {
            "plots",
            "predictions",
            "report.html",
            "report.json",
            "statistics",
        }
    card = next(registry_home.rglob("MODEL_CARD.md")).read_text(encoding="utf-8")
    for words in ("models:/", "translation memory", "non_inferior_to_teacher", "Licence", "zh"):
        assert words in card


def test_nothing_compiled_is_uploaded(register, monkeypatch):
    """MLflow tries a model before it uploads it, and Python keeps the compiled script beside it:
    every registration ended with "this model must not be loaded"."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    _, record = register("compiled")
    assert record["version"] == 1
    assert sys.dont_write_bytecode is False


def test_the_same_student_is_registered_once(register, store):
    """Each retry or rerun making a version, the registry fills with copies of one model."""
    _, first = register("once")
    outcome, _ = register("once")
    assert outcome.cached
    # Measured again: another report, another key of the stage, the same student.
    outcome, again = register("once", latency=2.5)
    assert not outcome.cached
    assert (again["version"], again["digest"]) == (first["version"], first["digest"])
    assert len(versions("once")) == 1


def test_the_run_of_a_killed_registration_is_told_as_killed(register, registry_home):
    """A night's kill in the upload is shown as a registration under way, for ever."""
    registry = Registry()
    killed, other = (
        registry.client.create_run(registry.experiment_id, tags={"model_name": name}).info.run_id
        for name in ("again", "another")
    )
    register("again")
    assert registry.client.get_run(killed).info.status == "KILLED"
    assert registry.client.get_run(other).info.status == "RUNNING"


def test_two_processes_at_once_make_one_version(
    registry_home, tmp_path, store, exported, make_report, publish_evaluation
):
    """A look-up without a lock: both find nothing, both register."""
    report = publish_evaluation(store, make_report())
    program = """
import sys
from pathlib import Path
from tasks.registration import STAGE, Config
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import run_stage
store = ArtifactStore(Path(sys.argv[1]))
inputs = {"export": store.open(Path(sys.argv[2])), "evaluation": store.open(Path(sys.argv[3]))}
config = Config(model_name="race", example_texts=["打开客厅的灯"])
made = run_stage(STAGE, config, inputs, store=store).artifact
print((made.path / "record.json").read_text())
"""
    environment = {**os.environ, "DECANT_HOME": str(registry_home), "OMP_NUM_THREADS": "1"}
    racing = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", program, str(tmp_path / f"store{number}")),
                *(str(exported.path), str(report.path)),
            ],
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    records = [json.loads(process.communicate(timeout=200)[0]) for process in racing]
    assert [record["version"] for record in records] == [1, 1]
    assert len(versions("race")) == 1


@pytest.mark.parametrize(
    ("figures", "gate", "field"),
    [
        (
            {"delivered_vs_teacher": {"safetensors": (-0.06, -0.12)}},
            "non_inferior_to_teacher",
            "max_drop_vs_teacher",
        ),
        ({"vs_no_kd": (-0.05, -0.08)}, "gain_over_no_kd", "min_gain_over_no_kd"),
        ({"latency": 80.0}, "latency_ms_p50", "max_latency_ms_p50"),
        ({"size": 200_000_000}, "size_mb", "max_size_mb"),
        ({"agreement": 0.9}, "int8_agreement", "min_int8_agreement"),
    ],
)
def test_a_student_that_fails_a_gate_is_on_record_but_not_registered(
    register, figures, gate, field
):
    """A gate that only warns lets the bad student into production."""
    name = f"refused-{gate}".replace("_", "-")
    with pytest.raises(GateRefused, match=gate) as refused:
        register(name, **figures)
    assert "registration.gates" in refused.value.remedy
    assert f" by {field}: {dict(GatesConfig())[field]:g} (" in refused.value.fact
    assert versions(name) == []
    registry = Registry()
    runs = registry.client.search_runs(
        [registry.experiment_id], "tags.gates = 'refused' and attributes.status = 'FAILED'"
    )
    run = next(run for run in runs if run.info.run_id in refused.value.remedy)
    assert f"gate/{gate}" in run.data.metrics


def test_a_student_no_better_than_a_floor_is_refused_where_that_is_asked(register):
    """A student of 65.0 % where the majority class has 65.0 % became the champion."""
    figures = {"accuracy": 0.65, "vs_floors": {"majority": (0.0, -0.01)}}
    asked = GatesConfig(min_gain_over_floor=0.5)
    with pytest.raises(GateRefused) as refused:
        register("floors", gates=asked, **figures)
    assert "gain_over_floor: -1, allowed 0.5 by min_gain_over_floor: 0.5 (" in refused.value.fact
    assert "Student minus majority: +0.0 points" in refused.value.fact
    _, record = register("floors", **figures)  # asked by no one
    assert record["version"] == 1


def test_a_refusal_is_on_record_once_however_often_it_is_tried(register):
    """A nightly run of a refused student fills the tracker with copies of one refusal."""

    def refused_run(**figures):
        with pytest.raises(GateRefused) as refused:
            register("refused-twice", **figures)
        return refused.value.remedy.split()[-1]

    first = refused_run(latency=80.0)
    assert refused_run(latency=80.0) == first
    registry = Registry()
    runs = registry.client.search_runs(
        [registry.experiment_id], "tags.model_name = 'refused-twice'"
    )
    assert [run.info.run_id for run in runs] == [first]
    assert refused_run(latency=90.0) != first  # measured again: other figures, another record
    # A try that was killed while it logged left a run that tells only half.
    registry.client.delete_tag(first, "evaluation_logged")
    again = refused_run(latency=80.0)
    assert again != first
    assert refused_run(latency=80.0) == again


def test_a_challenger_waits_for_its_promotion(register, another_export):
    """Without a step between, whatever passes serves at once."""
    register("hand")
    _, second = register("hand", promote=False, export=another_export("b"))
    assert second["aliases"] == {"challenger": 2, "champion": 1}
    change = promote("hand")
    assert (change.champion, change.previous, change.changed) == (2, 1, True)
    assert promote("hand", "2").changed is False


def test_rollback_exchanges_champion_and_previous(register, another_export):
    """A bad champion in production and no way back but to train again."""
    register("back")
    register("back", export=another_export("c"))
    change = rollback("back")
    assert (change.champion, change.previous) == (1, 2)
    change = rollback("back")
    assert (change.champion, change.previous) == (2, 1)


def test_alias_changes_leave_a_trail(register, another_export, monkeypatch):
    """Who put this model into production, and when? Nobody knows."""
    monkeypatch.setenv("USER", "ada")
    register("trail")
    register("trail", export=another_export("d"))
    rollback("trail")
    found = next(record for record in versions("trail") if record.version == 1).tags
    notes = [value for key, value in sorted(found.items()) if key.startswith("alias_change ")]
    assert any("champion set by ada, was 2: rolled back from version 2" in note for note in notes)


def test_a_rolled_back_model_is_not_promoted_by_a_cached_run(register, another_export):
    """A nightly run quietly undoing an emergency rollback."""
    register("stays")
    changed = another_export("e")
    register("stays", export=changed)
    rollback("stays")
    outcome, _ = register("stays", export=changed)
    assert outcome.cached
    assert Registry().aliases("stays")["champion"] == 1


def test_mistakes_are_told_in_words(register):
    """A traceback of the registry's client tells a user nothing to do."""
    register("words")
    with pytest.raises(UserError, match="no model 'nobody'"):
        promote("nobody")
    with pytest.raises(UserError, match="no version or alias '9'") as unknown:
        promote("words", "9")
    assert "champion (version 1)" in unknown.value.rule
    with pytest.raises(UserError, match="no previous champion"):
        rollback("words")
    with pytest.raises(ValueError, match="cannot be the name of a model"):
        Config(model_name="../models", example_texts=EXAMPLES)
    for name in ("a/b", "ﬁne", "a\nb", "x" * 65, "a..b", "名"):
        with pytest.raises(ValueError, match="cannot be the name"):
            Config(model_name=name, example_texts=EXAMPLES)


def test_a_deleted_version_is_registered_again(register):
    """The record says version 1, the registry says 404, and every run is Cached."""
    outcome, record = register("deleted")
    assert still_holds(outcome.artifact)
    Registry().client.delete_model_version("deleted", str(record["version"]))
    assert not still_holds(outcome.artifact)
    outcome, record = register("deleted")
    assert not outcome.cached
    assert record["version"] == 2


def test_a_version_with_the_script_of_another_release_is_registered_again(register, publish, store):
    """After an update every run is Cached, and `decant score` refuses the champion: its script is
    not the one that this release ships."""
    outcome, record = register("updated")
    assert still_holds(outcome.artifact)
    before = {"script_sha256": "0" * 64}, {"script_sha256": None, "problem": ""}
    for number, change in enumerate(before):  # the second as records were before they told it

        def write(output, changed=record | change):
            (output / "record.json").write_text(json.dumps(changed))

        assert not still_holds(publish(store, "registration", write, config={"number": number}))


def test_lineage_walks_back_to_the_first_artifact(register, exported):
    """A model whose data cannot be named cannot be audited, nor its data deleted."""
    _, record = register("origin")
    found = lineage("origin")
    assert (found["model_version"], found["digest"]) == (1, record["digest"])
    stages = {entry["stage"]: entry["key"] for entry in found["artifacts"]}
    assert stages["export"] == exported.key
    assert {"export", "evaluation"} <= set(stages)


def test_students_of_several_seeds_keep_their_own_parameters(register, publish, store):
    """MLflow refuses a second value under one name: every run of three seeds would fail."""

    def write(output):
        (output / "training.json").write_text("{}")

    seeds = [publish(store, "student", write, config={"seed": seed}) for seed in (0, 1)]
    made_of = {f"student_{seed}": artifact.key for seed, artifact in enumerate(seeds)}
    _, record = register("seeds", answers={"made_of": made_of})
    params = Registry().client.get_run(record["run_id"]).data.params
    assert (params["student_0.seed"], params["student_1.seed"]) == ("0", "1")
    assert {"student_0", "student_1"} <= {entry["name"] for entry in lineage("seeds")["artifacts"]}


def test_a_worse_student_does_not_replace_the_champion(register, another_export):
    """Retraining on broken data replaces a good model with a bad one overnight."""
    same_texts = {"num_examples": 400}
    register("throne", answers={**same_texts, "num_wrong": 4})
    with pytest.raises(GateRefused, match="not_worse_than_champion") as refused:
        register(
            "throne",
            export=another_export("f"),
            answers={**same_texts, "num_wrong": 40},
            vs_no_kd=(0.01, 0.0),
        )
    assert "paired on the same 400 test examples" in refused.value.fact
    assert "-9.0 points" in refused.value.fact
    assert Registry().aliases("throne") == {"challenger": 1, "champion": 1}


def test_on_other_test_texts_the_recorded_accuracy_is_compared(register, another_export):
    """Pairing answers to different questions gives an interval that means nothing."""
    register("exam", accuracy=0.95)
    _, record = register(
        "exam", export=another_export("g"), accuracy=0.94, answers={"first_id": 1000}
    )
    gate = next(gate for gate in record["gates"] if gate["name"] == "not_worse_than_champion")
    assert "test examples are not the same" in gate["detail"]
    assert gate["value"] == pytest.approx(-1.0)
    assert gate["passed"]


def test_a_half_trained_student_is_never_registered(
    register, exported, publish, store, registry_home
):
    """A run stopped by a signal after its checkpoint registers what it had."""
    import shutil

    def write(output):
        shutil.copytree(exported.path, output, dirs_exist_ok=True)
        (output / "manifest.json").unlink()
        half = {"steps_done": 12, "steps_planned": 30, "stopped_early": False}
        (output / "training.json").write_text(json.dumps(half))

    with pytest.raises(GateRefused, match="training_complete: 12, allowed 30"):
        register("half", export=publish(store, "export", write, config={"half": True}))


def test_an_unreachable_server_is_worth_a_retry(monkeypatch, registry_home):
    """An outage reported as a bug of ours is neither retried nor understood."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hunter22@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TransientError, match="cannot be reached") as away:
        Registry()
    assert "hunter22" not in str(away.value)


def test_a_plain_folder_as_tracking_uri_is_a_mistake_told_in_words(monkeypatch, registry_home):
    """MLflow's file store was removed; its error names no remedy of ours."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://here")
    with pytest.raises(UserError, match="MLflow cannot use"):
        Registry()
