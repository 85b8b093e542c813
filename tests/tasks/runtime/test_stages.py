"""run_stage builds what is missing, once, and shows nothing that is not whole."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from data_contracts.artifacts import StageSummary
from tasks.runtime.artifacts import MANIFEST, ArtifactStore
from tasks.runtime.progress import SilentProgress
from tasks.runtime.stages import Stage, StageConfig, key_parts, run_stage

# The same stage in this process and in the children that are killed.
LETTERS = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from data_contracts.artifacts import StageSummary
    from tasks.runtime.artifacts import ArtifactStore
    from tasks.runtime.stages import Stage, StageConfig, run_stage

    class Config(StageConfig):
        text: str = "ab"

    def write(config, inputs, workspace):
        checkpoint = workspace.work / "checkpoint"
        checkpoint.write_text(config.text[0])
        for number, letter in enumerate(config.text):
            path = workspace.output / f"folder-{number}" / f"{letter}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(letter * 1000)
        return StageSummary()

    STAGE = Stage("letters", 1, write)
    """
)
RUN_ONCE = LETTERS + "run_stage(STAGE, Config(), {}, store=ArtifactStore(Path(sys.argv[1])))\n"
RACE = LETTERS + textwrap.dedent(
    """
    def slow(config, inputs, workspace):
        with Path(sys.argv[2]).open("a") as log:
            log.write("built\\n")
        time.sleep(1.0)
        return write(config, inputs, workspace)

    print("ready", flush=True)
    input()
    force = sys.argv[3] == "force"
    store = ArtifactStore(Path(sys.argv[1]))
    outcome = run_stage(Stage("letters", 1, slow), Config(), {}, store=store, force=force)
    print(outcome.cached, outcome.artifact.content_digest)
    """
)
namespace: dict = {}
exec(compile(LETTERS, "letters", "exec"), namespace)  # the text above, so that both are one
Config, STAGE = namespace["Config"], namespace["STAGE"]


class Recorder(SilentProgress):
    """Keeps what it is told."""

    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


def counting(name="letters", version=1, content="x", calls=None, **options):
    """A stage that counts its calls and writes `content`, whatever its inputs."""
    calls = [] if calls is None else calls

    def write(config, inputs, workspace):
        calls.append(sorted(inputs))
        (workspace.output / "file.txt").write_text(content)
        return StageSummary(facts={"calls": len(calls)})

    return Stage(name, version, write, **options), calls


def test_the_second_run_is_a_hit_and_computes_nothing(store):
    """A cache that is written and never read."""
    stage, calls = counting()
    first = run_stage(stage, Config(), {}, store=store)
    second = run_stage(stage, Config(), {}, store=store)
    assert (first.cached, second.cached, len(calls)) == (False, True, 1)
    assert first.artifact == second.artifact
    assert not list((store.root / "tmp").iterdir())
    assert not list((store.root / "work" / "letters").iterdir())


@pytest.mark.parametrize("changed", ["config", "version", "name", "upstream", "score"])
def test_anything_that_defines_the_result_makes_it_anew(store, changed):
    """Yesterday's model served for today's recipe."""
    upstream, _ = counting("data", content="1")
    other, _ = counting("data", content="2", version=2)
    data = run_stage(upstream, Config(), {}, store=store).artifact
    stage, calls = counting()
    run_stage(stage, Config(), {"data": data}, store=store)
    if changed == "config":
        run_stage(stage, Config(text="xyz"), {"data": data}, store=store)
    elif changed == "upstream":
        changed_data = run_stage(other, Config(), {}, store=store).artifact
        run_stage(stage, Config(), {"data": changed_data}, store=store)
    else:
        newer, _ = counting(
            "other" if changed == "name" else "letters",
            2 if changed == "version" else 1,
            calls=calls,
            score_version=(lambda config: 2) if changed == "score" else None,
        )
        run_stage(newer, Config(), {"data": data}, store=store)
    assert len(calls) == 2


def test_an_upstream_rebuilt_with_identical_bytes_invalidates_nothing(store):
    """A refactored first stage: days of training computed again for the same data."""
    stage, calls = counting("student")
    for version in (1, 2):
        upstream, _ = counting("corpus", version, content="same bytes")
        corpus = run_stage(upstream, Config(), {}, store=store)
        assert not corpus.cached
        outcome = run_stage(stage, Config(), {"corpus": corpus.artifact}, store=store)
    assert outcome.cached
    assert len(calls) == 1


def test_force_builds_again_and_discards_old_checkpoints(store):
    """`--force` that resumes the very checkpoint one wanted to be rid of."""
    seen = []

    def write(config, inputs, workspace):
        seen.append((workspace.force, [path.name for path in workspace.work.iterdir()]))
        (workspace.output / "file.txt").write_text("x")
        return StageSummary()

    stage = Stage("letters", 1, write)
    work = store.work_directory(key_parts(stage, Config(), {}))
    for force in (False, True):
        work.mkdir(parents=True)
        (work / "checkpoint").write_text("old")
        assert not run_stage(stage, Config(), {}, store=store, force=force).cached
    assert seen == [(False, ["checkpoint"]), (True, [".forced-by"])]


def test_a_retry_of_a_forced_run_resumes_and_another_forced_run_starts_anew(store):
    """A network blink after ten hours of forced training costs the ten hours, four times over."""
    seen = []

    def train(config, inputs, workspace):
        checkpoint = workspace.work / "checkpoint"
        seen.append(checkpoint.exists())
        checkpoint.write_text("epoch 8")
        if len(seen) in (1, 2, 4):
            raise ConnectionError
        (workspace.output / "file.txt").write_text("x")
        return StageSummary()

    stage = Stage("letters", 1, train)

    def attempt(run):
        return run_stage(stage, Config(), {}, store=store, force=True, run_id=run)

    for run in ("monday", "monday"):
        with pytest.raises(ConnectionError):
            attempt(run)
    assert not attempt("monday").cached
    assert seen == [False, True, True]
    assert attempt("monday").cached  # published, then the task around it failed
    with pytest.raises(ConnectionError):
        attempt("tuesday")
    assert not attempt("wednesday").cached
    assert not run_stage(stage, Config(), {}, store=store, force=True).cached
    assert not run_stage(stage, Config(), {}, store=store, force=True).cached
    assert seen[3:] == [False] * 4


def test_a_retry_of_a_forced_run_keeps_the_shards_it_has_built(store):
    """The last of a thousand shards fails, and the retry reads the other 999 again."""
    shard, calls = counting("shard")
    failures = [ConnectionError, None, None]

    def outer(config, inputs, workspace):
        run_stage(shard, Config(), {}, store=store, force=workspace.force, run_id=workspace.run_id)
        if error := failures.pop(0):
            raise error
        (workspace.output / "file.txt").write_text("x")
        return StageSummary()

    run_stage(shard, Config(), {}, store=store)
    stage = Stage("outer", 1, outer)
    with pytest.raises(ConnectionError):
        run_stage(stage, Config(), {}, store=store, force=True, run_id="monday")
    assert len(calls) == 2
    run_stage(stage, Config(), {}, store=store, force=True, run_id="monday")
    assert len(calls) == 2
    run_stage(stage, Config(), {}, store=store, force=True, run_id="tuesday")
    assert len(calls) == 3


def test_a_corrupt_artifact_is_told_and_built_again(store):
    """A run that stops, or goes on with damaged data, until somebody deletes a folder by hand."""
    stage, calls = counting()
    artifact = run_stage(stage, Config(), {}, store=store).artifact
    for name in ("file.txt", MANIFEST):
        damaged = bytearray((artifact.path / name).read_bytes())
        damaged[0] ^= 1
        (artifact.path / name).write_bytes(damaged)
        progress = Recorder()
        again = run_stage(stage, Config(), {}, store=store, progress=progress)
        assert not again.cached
        assert again.artifact.content_digest == artifact.content_digest
        assert any("building it again" in message for message in progress.said)
    assert len(calls) == 3


def test_a_stage_that_fails_leaves_its_checkpoints_and_no_artifact(store):
    """An out-of-memory at epoch 9 that costs epochs 1 to 8."""

    def fail(config, inputs, workspace):
        (workspace.work / "checkpoint").write_text("epoch 8")
        (workspace.output / "half").write_text("x")
        raise MemoryError

    def resume(config, inputs, workspace):
        text = (workspace.work / "checkpoint").read_text()
        (workspace.output / "resumed").write_text(text)
        return StageSummary()

    with pytest.raises(MemoryError):
        run_stage(Stage("letters", 1, fail), Config(), {}, store=store)
    assert not (store.root / "artifacts").exists()
    artifact = run_stage(Stage("letters", 1, resume), Config(), {}, store=store).artifact
    assert [path.name for path in artifact.path.iterdir() if path.name != MANIFEST] == ["resumed"]
    assert (artifact.path / "resumed").read_text() == "epoch 8"


def test_a_result_that_no_longer_stands_outside_is_made_again(store):
    """A registry that was wiped, and a pipeline that says the model is registered."""
    stands = [True]
    stage, calls = counting("registration", still_holds=lambda artifact: stands[0])
    run_stage(stage, Config(), {}, store=store)
    assert run_stage(stage, Config(), {}, store=store).cached
    stands[0] = False
    assert not run_stage(stage, Config(), {}, store=store).cached
    assert len(calls) == 2


class Reading(StageConfig):
    """A configuration that names a file."""

    uri: str
    title: str = "t"

    def locations(self):
        return (self.uri,)


def test_keys_follow_the_bytes_of_named_files_not_their_paths(store, tmp_path):
    """Data moved: everything is computed again. Data changed in place: nothing is."""
    stage, calls = counting()
    one, two = tmp_path / "one.csv", tmp_path / "deep" / "two.csv"
    two.parent.mkdir()
    one.write_text("1\n")
    shutil.copy(one, two)
    first = run_stage(stage, Reading(uri=str(one)), {}, store=store)
    moved = run_stage(stage, Reading(uri=f"file://{two}"), {}, store=store)
    assert moved.cached
    assert str(tmp_path) not in json.dumps(first.artifact.manifest.key_parts.model_dump())
    assert list(first.artifact.manifest.locations) == [str(one)]  # lineage still names it
    one.write_text("2\n")
    assert not run_stage(stage, Reading(uri=str(one)), {}, store=store).cached
    assert len(calls) == 2


class Named(StageConfig):
    """A configuration that names a source, and tells names of files in its result."""

    uri: str
    name: str
    file_names: tuple[str, ...]

    def locations(self):
        return (self.uri,)


def test_what_a_result_says_is_part_of_its_key_though_it_is_spelt_like_a_path(
    tmp_path, monkeypatch
):
    """`mv monday.csv tuesday.csv`, and the scores of it say monday.csv."""
    monkeypatch.chdir(tmp_path)
    stage, _ = counting()
    keys = []
    for file, name in (("monday.csv", "rows"), ("tuesday.csv", "rows"), ("monday.csv", "other")):
        Path(file).write_text("1\n")
        for config in (
            Named(uri=file, name=name, file_names=(file,)),
            Named(uri=file, name=file, file_names=(name,)),
        ):
            keys.append(key_parts(stage, config, {}))
    assert all(one != other for one, other in itertools.combinations(keys, 2))
    assert len({parts.config["uri"] for parts in keys}) == 1


def race(tmp_path, modes):
    """Start one process a mode at the same moment; (cached, digest) of each, and builds."""
    log = tmp_path / "log"
    log.touch()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path / "store"), str(log), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mode in modes
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    answers = [child.communicate()[0].split() for child in children]
    assert [child.returncode for child in children] == [0] * len(modes)
    return answers, log.read_text().count("built")


@pytest.mark.parametrize("mode", ["plain", "force"])
def test_of_identical_runs_at_once_one_builds_and_the_others_wait(tmp_path, mode):
    """Three triggers of one schedule: three trainings, three registered versions."""
    answers, builds = race(tmp_path, [mode] * 3)
    assert builds == 1
    assert sorted(cached for cached, _ in answers) == ["False", "True", "True"]
    assert len({digest for _, digest in answers}) == 1


def can_trace():
    """Whether strace is here and allowed to trace."""
    if not shutil.which("strace"):
        return False
    return (
        subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not can_trace(), reason="strace is not installed, or ptrace is not allowed")
@pytest.mark.parametrize(
    "call",
    ["rename", "fsync", pytest.param("mkdir", marks=pytest.mark.slow), "rmdir,unlink,unlinkat"],
)
def test_killed_at_any_step_nothing_half_written_is_visible(tmp_path, call):
    """A power cut between two system calls: an artifact without its last file, believed."""
    expected = run_stage(
        STAGE, Config(), {}, store=ArtifactStore(tmp_path / "undisturbed")
    ).artifact
    parts = key_parts(STAGE, Config(), {})
    kills = 0
    while True:
        store = ArtifactStore(tmp_path / f"killed-{kills}")
        inject = f"inject={call}:signal=SIGKILL:when={kills + 1}"
        child = subprocess.run(
            ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject,
             sys.executable, "-c", RUN_ONCE, str(store.root)],
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            check=False,
        )  # fmt: skip
        if child.returncode == 0:
            break
        kills += 1
        assert child.returncode == -9, child.stderr.decode()
        visible = store.lookup(parts)  # raises if something half-written shows
        assert visible is None or visible.content_digest == expected.content_digest
        for directory in (store.root / "artifacts").glob("*/*"):
            assert (directory / MANIFEST).is_file()
        rerun = run_stage(STAGE, Config(), {}, store=store)
        assert rerun.artifact.content_digest == expected.content_digest
        assert rerun.cached == (visible is not None)
    assert kills >= 1, f"the run never calls {call}: nothing was tested"


def test_the_store_may_lie_anywhere(tmp_path, monkeypatch):
    """A store under a relative path that is lost when a task changes its directory."""
    monkeypatch.chdir(tmp_path)
    store = ArtifactStore(Path("relative"))
    stage, _ = counting()
    artifact = run_stage(stage, Config(), {}, store=store).artifact
    monkeypatch.chdir("/")
    assert run_stage(stage, Config(), {}, store=store).cached
    assert artifact.path.is_absolute()
