"""What `gc` removes, and above all what it keeps."""

import os
import time

import pytest

from data_contracts.artifacts import StageSummary
from flows.garbage import find_garbage
from flows.running import Options, Runner, SilentListener, call_directly
from flows.runs import RunLog
from tasks.runtime.locks import exclusive_lock
from tasks.runtime.stages import Stage, StageConfig, key_parts, run_stage

DAY = 86_400


class Config(StageConfig):
    text: str


def write(config, inputs, workspace):
    (workspace.output / "out").write_text(config.text)
    return StageSummary()


def stage_of(name, files):
    """A stage that writes these files, path to text."""

    def write_all(config, inputs, workspace):
        for path, text in files.items():
            (workspace.output / path).parent.mkdir(parents=True, exist_ok=True)
            (workspace.output / path).write_text(text)
        return StageSummary()

    return Stage(name, 1, write_all)


TOY = Stage("toy", 1, write)


def build(store, text, *, age_days, stage=TOY, inputs=None):
    artifact = run_stage(stage, Config(text=text), inputs or {}, store=store).artifact
    then = time.time() - age_days * DAY
    os.utime(artifact.path, (then, then))
    return artifact


def removed(store, days=14):
    return {item.path for item in find_garbage(store, days=days)}


def test_only_old_artifacts_that_nothing_uses_are_garbage(store):
    """Last night's experiment, or the model in production, would be deleted."""
    old, young = build(store, "old", age_days=20), build(store, "young", age_days=2)
    source = build(store, "source", age_days=20)
    registered = build(
        store, "registered", age_days=20, stage=Stage("registration", 1, write),
        inputs={"source": source},
    )  # fmt: skip
    assert removed(store) == {old.path}
    assert removed(store, days=1) == {old.path, young.path}
    assert all(kept.path.is_dir() for kept in (registered, source))


@pytest.mark.parametrize(
    ("whole", "part", "file"),
    [
        ("tokens", "tokens_shard", "tokens.parquet"),
        ("teacher_signals", "teacher_signals_part", "part.parquet"),
        ("export", "scored_model", "model/model.safetensors"),
        ("export", "scored_model", "model/model.low_rank.safetensors"),
    ],
)
def test_a_part_stays_as_long_as_its_data_are_part_of_what_is_used(store, whole, part, file):
    """A hundred million rows are read again for a thousand new ones; or nothing is ever removed,
    since one list of labels is that of every student that there was."""
    labels = {"labels.json": "labels"}
    used = build(store, "used", age_days=20, stage=stage_of(whole, {"00": "rows"} | labels))
    registration = Stage("registration", 1, write)
    build(store, "registered", age_days=20, stage=registration, inputs={"used": used})
    parts = {
        text: build(store, text, age_days=20, stage=stage_of(part, {file: text} | labels))
        for text in ("rows", "other rows")
    }
    old = build(store, "old", age_days=20, stage=stage_of(whole, {"00": "other rows"} | labels))
    assert removed(store) == {parts["other rows"].path, old.path}


@pytest.mark.parametrize("form", ["examples", "masked_texts", "seq2seq_examples"])
def test_mapped_examples_stay_as_long_as_what_they_were_made_from(store, form):
    """Every seed decoded a hundred million rows again; or those of old tokens filled the disk."""
    used, old = build(store, "source", age_days=20), build(store, "old", age_days=20)
    registration = Stage("registration", 1, write)
    build(store, "registered", age_days=20, stage=registration, inputs={"tokens": used})
    mapping = Stage(form, 1, write)
    build(store, "mapped", age_days=20, stage=mapping, inputs={"tokens": used})
    gone = build(store, "other", age_days=20, stage=mapping, inputs={"tokens": old})
    assert removed(store) == {old.path, gone.path}


def test_what_a_recipe_used_last_stays_however_old(store):
    """A yearly recipe would be built from nothing each year."""
    log = RunLog(store.root, "yearly")
    with log.run(("one",)) as running:
        runner = Runner(store, log, running, Options(), call_directly, SilentListener())
        artifact = runner("one", TOY, Config(text="used")).artifact
    os.utime(artifact.path, (0, 0))
    assert removed(store) == set()


def test_leftovers_of_a_killed_run_go_unless_something_runs(store):
    """A temporary folder would be pulled from under a stage that is writing it."""
    left = store.root / "tmp" / "toy-123"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    with exclusive_lock(store.root / "locks" / "somebody.lock"):
        assert removed(store) == set()
    assert removed(store) == {left}
    for item in find_garbage(store, days=14):
        item.remove()
    assert not left.exists()


def test_what_a_running_stage_writes_stays_even_if_all_is_to_go(store):
    """`gc --days 0 --delete` beside a night's training takes away the folder it ends in."""
    parts = key_parts(TOY, Config(text="slow"), {})
    with store.lock(parts), store.writing(parts) as output:
        os.utime(output, (0, 0))
        killed = store.root / "tmp" / f"toy-{'0' * 64}-left"
        killed.mkdir()
        assert removed(store, days=0) == {killed}
    assert not output.exists()


def test_checkpoints_of_a_running_or_recent_key_stay(store):
    """A night of training would start again from nothing."""
    work = store.root / "work" / "toy" / "abc"
    work.mkdir(parents=True)
    assert removed(store) == set()
    os.utime(work, (0, 0))
    with exclusive_lock(store.root / "locks" / "abc.lock"):
        assert removed(store) == set()
    assert removed(store) == {work}
