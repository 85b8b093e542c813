"""What `gc` removes, and above all what it keeps."""

import os
import time

from data_contracts.artifacts import StageSummary
from flows.garbage import find_garbage
from flows.running import Options, Runner, SilentListener, call_directly
from flows.runs import RunLog
from tasks.runtime.locks import exclusive_lock
from tasks.runtime.stages import Stage, StageConfig, run_stage

DAY = 86_400


class Config(StageConfig):
    text: str


def write(config, inputs, workspace):
    (workspace.output / "out").write_text(config.text)
    return StageSummary()


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
    shard = build(store, "source", age_days=20, stage=Stage("shard", 1, write))
    assert removed(store) == {old.path}
    assert removed(store, days=1) == {old.path, young.path}
    assert all(kept.path.is_dir() for kept in (registered, source, shard))


def test_mapped_examples_stay_as_long_as_what_they_were_made_from(store):
    """Every seed decoded a hundred million rows again; or those of old tokens filled the disk."""
    used, old = build(store, "source", age_days=20), build(store, "old", age_days=20)
    registration = Stage("registration", 1, write)
    build(store, "registered", age_days=20, stage=registration, inputs={"tokens": used})
    mapping = Stage("examples", 1, write)
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


def test_checkpoints_of_a_running_or_recent_key_stay(store):
    """A night of training would start again from nothing."""
    work = store.root / "work" / "toy" / "abc"
    work.mkdir(parents=True)
    assert removed(store) == set()
    os.utime(work, (0, 0))
    with exclusive_lock(store.root / "locks" / "abc.lock"):
        assert removed(store) == set()
    assert removed(store) == {work}
