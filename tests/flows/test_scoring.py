"""`decant score` in shards, through the command line: here, in processes and on a real Ray."""

import importlib.util
import json
import os
import signal
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.scoring import SUMMARY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("prefect_ray") is None, reason="the extra `ray` is not installed"
)
MODEL = "models:/tiny-en-zh@champion"
ROOMS = ("厨房", "卧室", "车库", "花园", "办公室", "走廊", "阁楼", "地下室", "浴室", "露台")


@pytest.fixture
def texts(tmp_path):
    """Three files, one of them of two shards."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, number in (("a", 30), ("b", 8200), ("c", 3)):
        rows = [{"text": f"打开{ROOMS[row % 10]}的灯{row % 13}"} for row in range(number)]
        rows[1] = {"text": None}
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def table(folder):
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("where", ["processes", pytest.param("ray", marks=needs_ray)])
def test_a_registered_model_answers_alike_wherever_its_shards_are(
    finished, texts, tmp_path, where, monkeypatch
):
    """A cluster that gives other answers than the machine on which they were looked at."""
    decant, _ = finished
    # Ray would make an environment with uv, and send telemetry.
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    decant("score", MODEL, texts, tmp_path / "one.parquet", check=0)
    there = ["--rows-per-shard", 1, "--shards-on", where, "--workers", 2]
    done = decant("score", MODEL, texts, tmp_path / "there", *there, check=0)
    assert "8,230 of 8,233 rows scored" in done.stdout
    assert "3 without an answer: missing_text" in done.stdout
    assert table(tmp_path / "there").equals(pq.read_table(tmp_path / "one.parquet"))
    assert len(list((tmp_path / "there").glob("part-*.parquet"))) == 4
    # Kept where it was found: nothing is scored again, and another way gives the same bytes.
    shards = list((decant.home / "artifacts" / "scores_shard").iterdir())
    again = ["--rows-per-shard", 1]
    decant("score", MODEL, texts, tmp_path / "here", *again, check=0)
    assert list((decant.home / "artifacts" / "scores_shard").iterdir()) == shards
    assert bytes_of(tmp_path / "here") == bytes_of(tmp_path / "there")
    # The next hour's texts find the registered student where it was copied to.
    listed = decant("gc", "--days", 0, check=0).stdout
    assert "artifacts/scores_shard/" in listed
    assert "artifacts/scored_model/" not in listed


def test_a_killed_run_leaves_the_old_scores_and_the_next_one_goes_on(finished, tmp_path):
    """A night's run begun again from nothing, and half a folder read as the whole in between."""
    decant, _ = finished
    folder, output = tmp_path / "texts", tmp_path / "scores"
    folder.mkdir()
    for number in range(20):
        rows = [f"打开{ROOMS[row % 10]}的灯{number}" for row in range(500)]
        (folder / f"{number:02d}.csv").write_text("\n".join(["text", *rows]), encoding="utf-8")
    decant("score", MODEL, folder / "00.csv", output, "--rows-per-shard", 1, check=0)
    before = bytes_of(output)
    shards = decant.home / "artifacts" / "scores_shard"
    known = set(shards.iterdir())
    running = decant.start("score", MODEL, folder, output, "--rows-per-shard", 1)
    deadline = time.monotonic() + 100
    while len(set(shards.iterdir()) - known) < 3:
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert bytes_of(output) == before
    made = {path: path.stat().st_mtime_ns for path in set(shards.iterdir())}
    done = decant("score", MODEL, folder, output, "--rows-per-shard", 1, check=0)
    assert "10,000 of 10,000 rows scored" in done.stdout
    assert table(output).num_rows == 10_000
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_a_killed_run_leaves_nobody_and_is_crashed_by_the_next_one(
    finished, texts, prefect_home, tmp_path
):
    """A run that nobody works at, Running on Prefect's page for ever; or its workers, waiting in
    memory for shards that nobody gives them."""
    (student,) = (finished[0].home / "artifacts" / "export").glob("*/model")
    home, command = prefect_home, ["score", student, texts, tmp_path / "scores"]
    command += ["--shards-on", "processes", "--workers", 1]
    first = home.start(*command)
    home.wait_for(lambda: any((home.path / "work" / "scores_shard").glob("*")), seconds=200)
    assert home.processes(b"multiprocessing.spawn")
    first.send_signal(signal.SIGKILL)
    first.wait()
    home.wait_for(lambda: not home.processes(b"multiprocessing.spawn"), seconds=20)
    home.wait_for(lambda: not home.servers(), seconds=20)
    home.age_runs(seconds=10)  # younger ones may be about to take their lock
    assert home.start(*command).wait(timeout=300) == 0, home.said()
    states = home.rows("SELECT state_name FROM flow_run ORDER BY created")
    assert states == [("Crashed",), ("Completed",)]


def test_a_linked_folder_of_scores_stays_where_it_is(finished, tmp_path):
    """The link to a large disk made a folder of the small one, and each later run refused."""
    decant, _ = finished
    (tmp_path / "texts.csv").write_text("text\n打开厨房的灯\n", encoding="utf-8")
    (tmp_path / "large_disk" / "scores").mkdir(parents=True)
    link = tmp_path / "scores"
    link.symlink_to(tmp_path / "large_disk" / "scores")
    for number in (1, 2, 3):
        with (tmp_path / "texts.csv").open("a", encoding="utf-8") as stream:
            stream.write(f"关闭厨房的灯{number}\n")
        decant("score", MODEL, tmp_path / "texts.csv", link, "--rows-per-shard", 1, check=0)
        assert link.is_symlink()
        assert table(tmp_path / "large_disk" / "scores").num_rows == 1 + number
    assert {path.name for path in tmp_path.iterdir()} == {"large_disk", "scores", "texts.csv"}
    assert [path.name for path in (tmp_path / "large_disk").iterdir()] == ["scores"]


@pytest.mark.parametrize("what", ["file", "folder", "beside earlier scores"])
def test_what_was_no_scores_is_not_replaced(finished, texts, tmp_path, what):
    """`decant score MODEL texts .` removes a person's folder."""
    decant, _ = finished
    output = tmp_path / "mine"
    kept = output if what == "file" else output / "notes.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    if what == "beside earlier scores":
        (output / SUMMARY).write_text("{}")
    done = decant("score", MODEL, texts, output, "--rows-per-shard", 1)
    assert done.returncode == 2, done.stderr
    assert "is no folder that scores were written to" in done.stderr
    assert kept.read_text() == "mine"
