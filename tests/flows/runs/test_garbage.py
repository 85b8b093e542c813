"""What `gc` removes, and above all what it keeps."""

import os
import time

import pytest

from data_contracts.artifacts import StageSummary
from flows.orchestration.runner import Options, Runner, SilentListener, call_directly
from flows.runs.garbage import find_garbage
from flows.runs.pointers import RunLog
from tasks.runtime.files.locations import local_files
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
    both = {"tokens": used, "signals": old}
    half = build(store, "half", age_days=20, stage=mapping, inputs=both)
    assert removed(store) == {old.path, gone.path, half.path}


def run_recipe(store, name, steps):
    """Run a recipe of these steps, name to text; their artifacts, as old as can be."""
    log = RunLog(store.root, name)
    with log.run(tuple(steps)) as running:
        runner = Runner(store, log, running, Options(), call_directly, SilentListener())
        artifacts = {
            step: runner(step, TOY, Config(text=text)).artifact for step, text in steps.items()
        }
    for artifact in artifacts.values():
        os.utime(artifact.path, (0, 0))
    return artifacts


def test_what_a_recipe_used_last_stays_however_old(store):
    """A yearly recipe would be built from nothing each year."""
    run_recipe(store, "yearly", {"one": "used"})
    assert removed(store) == set()


def test_a_step_that_a_recipe_no_longer_has_uses_nothing(store):
    """Two of three seeds that were given up years ago fill the disk for good."""
    seeds = run_recipe(store, "mine", {f"student-seed-{seed}": str(seed) for seed in range(3)})
    run_recipe(store, "mine", {"student-seed-0": "0"})
    assert removed(store) == {seeds["student-seed-1"].path, seeds["student-seed-2"].path}
    # Nobody knows which steps a recipe has whose last run cannot be read.
    (store.root / "runs" / "mine.json").write_text("{}")
    assert removed(store) == set()


def left_behind(store, text="half"):
    """What a killed run leaves below `tmp`: the folder that it was writing to."""
    with store.writing(key_parts(TOY, Config(text=text), {})) as output:
        pass
    output.mkdir()
    (output / "half").write_text(text)
    return output


def test_leftovers_of_a_killed_run_go_unless_something_runs(store):
    """A temporary folder would be pulled from under a stage that is writing it."""
    left = left_behind(store)
    replaced = left.with_name(f"{left.name}-replaced")
    replaced.mkdir()
    with exclusive_lock(store.root / "locks" / "somebody.lock"):
        assert removed(store) == set()
    assert removed(store) == {left, replaced}
    assert all(item.remove() for item in find_garbage(store, days=14))
    assert not left.exists()


def test_the_small_files_of_killed_runs_go_and_those_of_a_living_one_stay(store):
    """A machine that kills its runs every night gathers their locks and halves of records for ever;
    or the record that a run is writing is taken from under it."""
    digest = "0123456789abcdef" * 2
    living, dead = (store.root / "locks" / f"run-20260101-00000{n}-abcd.lock" for n in range(2))
    halves = {
        store.root / "runs" / f".mine.json.{digest}",
        store.root / "runs" / "mine" / f".student-seed-0.json.{digest}",
        store.root / "tuning" / "mine-0123456789ab" / f".trials.csv.{digest}",
    }
    kept = {path.with_name(f".{path.name[1:5]}") for path in halves}
    for path in (living, dead, *halves, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{")
        os.utime(path, (time.time() - 100,) * 2)
    with exclusive_lock(living):
        assert removed(store) == {dead}
    assert removed(store) == {living, dead, *halves}
    os.utime(dead)  # made this moment, and about to be held
    for path in halves:
        os.utime(path)
    assert removed(store) == {living}
    with exclusive_lock(living):
        assert removed(store, days=0) == set()
    os.utime(dead, (0, 0))
    for path in halves:
        os.utime(path, (0, 0))
    assert all(item.remove() for item in find_garbage(store, days=14))
    assert not any(path.exists() for path in (living, dead, *halves))
    assert all(path.is_file() for path in kept)


def test_what_a_running_stage_writes_stays_even_if_all_is_to_go(store):
    """`gc --days 0 --delete` beside a night's training takes away the folder it ends in."""
    parts = key_parts(TOY, Config(text="slow"), {})
    with store.lock(parts), store.writing(parts) as output:
        os.utime(output, (0, 0))
        killed = left_behind(store)
        assert removed(store, days=0) == {killed}
    assert not output.exists()


def old_work(store, text="resumed"):
    """Checkpoints that a run left long ago, and what defines them."""
    parts = key_parts(TOY, Config(text=text), {})
    work = store.work_directory(parts)
    work.mkdir(parents=True)
    os.utime(work, (0, 0))
    return work, parts


def test_checkpoints_of_a_running_or_recent_key_stay(store):
    """A night of training would start again from nothing."""
    work, parts = old_work(store)
    with store.lock(parts):
        assert removed(store) == set()
    assert removed(store) == {work}
    os.utime(work)
    assert removed(store) == set()


def test_what_is_not_of_the_store_is_not_touched(store):
    """A home that is somebody's project: its drafts of a year are deleted as leftovers."""
    digest = "0" * 64
    foreign = (
        "tmp/draft", "tmp/toy-123", f"tmp/{digest}", f"tmp/toy-{digest}-left", "work/2025/thesis",
        "work/toy/abc", f"work/My Project/{digest}", "downloads/holidays",
        f"downloads/{digest[1:]}",
    )  # fmt: skip
    for name in foreign:
        folder = store.root / name
        folder.mkdir(parents=True)
        (folder / "kept.txt").write_text("kept")
        (folder / ".env").write_text("kept")
    left, (work, _) = left_behind(store), old_work(store)
    for folder in (left.parent, work.parent, store.root / "downloads"):
        (folder / "notes").write_text("a file, of no folder")
        (folder / ("1" * 64)).write_text("a file under the name of a key")
        elsewhere = store.root / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        (folder / ("2" * 64)).symlink_to(elsewhere)
    for path in (*store.root.rglob("*"), store.root):
        os.utime(path, (0, 0))
    assert removed(store, days=0) == {left, work}
    assert all(item.remove() for item in find_garbage(store, days=0))
    assert all((store.root / name / "kept.txt").is_file() for name in foreign)


def test_who_comes_back_before_the_removal_keeps_what_is_theirs(store):
    """A run resumes while `gc --delete` is at another folder, and loses its checkpoint."""
    work, parts = old_work(store)
    (listed,) = find_garbage(store, days=14)
    with store.lock(parts):
        assert not listed.remove()
    (work / "checkpoint").write_text("epoch 9")  # it was killed again, a moment ago
    assert not listed.remove()
    assert (work / "checkpoint").is_file()
    os.utime(work / "checkpoint", (0, 0))
    os.utime(work, (0, 0))
    assert listed.remove()
    assert not listed.remove()  # gone already


def test_what_is_built_again_before_the_removal_stays(store):
    """`decant run --force` beside `gc --delete`: a new artifact goes for the age of the old one."""
    old = build(store, "old", age_days=20)
    (listed,) = find_garbage(store, days=14)
    run_stage(TOY, Config(text="old"), {}, store=store, force=True)
    assert not listed.remove()
    assert run_stage(TOY, Config(text="old"), {}, store=store).cached
    assert old.path.is_dir()


def test_copies_of_remote_files_go_once_nobody_reads_them(store, bucket):
    """A copy of the whole set for each day of a year, of which one is read."""
    for name in ("a", "b"):
        bucket.put_object(Key=f"in/{name}.csv", Body=name.encode() * 1000)
    monday = local_files("s3://decant-test/in/")
    assert removed(store, days=0) == set()  # somebody may be reading: who does holds no lock
    set_of_monday, downloads = monday[0].parent, store.root / "downloads"
    alone = {path.name: path.parent for path in downloads.glob("*/*.csv") if path not in monday}
    for path in downloads.rglob("*"):
        os.utime(path, (0, 0))
    assert removed(store) == {set_of_monday, *alone.values()}
    listed = find_garbage(store, days=14)
    # Files under two names, and a seal of 64 characters for each.
    assert sum(item.size_bytes for item in listed) == 2000 + 2 * 64
    bucket.Object("in/b.csv").delete()
    bucket.put_object(Key="in/c.csv", Body=b"c")
    tuesday = local_files("s3://decant-test/in/")
    assert {item.path for item in listed if item.remove()} == {set_of_monday, alone["b.csv"]}
    assert [path.read_bytes()[:1] for path in tuesday] == [b"a", b"c"]
    assert not set_of_monday.exists()


def test_what_a_killed_copy_left_goes_though_the_rest_is_read(store, bucket):
    """Half a terabyte beside the file that is read every night, and nothing that tells of it."""
    bucket.put_object(Key="in/a.csv", Body=b"a")
    (copy,) = local_files("s3://decant-test/in/a.csv")
    old, young = (copy.with_name(f".a.csv.{digit * 32}") for digit in "01")
    for partial in (old, young):
        partial.write_bytes(b"half")
    os.utime(old, (0, 0))
    (listed,) = find_garbage(store, days=14)
    assert (listed.path, listed.size_bytes) == (old, 4)
    assert listed.remove()
    assert {path.name for path in copy.parent.iterdir()} == {copy.name, young.name, ".sealed"}
