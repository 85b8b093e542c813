"""One set of files from the key to the result, whatever arrives or changes meanwhile."""

import os

import pytest

from data_contracts.artifacts import StageSummary
from data_contracts.errors import SourceError
from tasks.runtime.files.locations import local_files
from tasks.runtime.stages import Stage, StageConfig, run_stage


class Reading(StageConfig):
    uri: str

    def locations(self):
        return (self.uri,)


def test_a_file_that_arrives_while_a_step_runs_is_for_the_next_run(store, tmp_path):
    """A folder that gets a file an hour never becomes a corpus; or one without that file's rows
    lies under the key of all of them."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "monday.csv").write_text("1\n")

    def read(config, inputs, workspace):
        (folder / "tuesday.csv").write_text("2\n")
        names = [path.name for path in local_files(f"{config.uri}/")]
        (workspace.output / "read").write_text(" ".join(names))
        return StageSummary()

    stage = Stage("reading", 1, read)
    first = run_stage(stage, Reading(uri=str(folder)), {}, store=store)
    second = run_stage(stage, Reading(uri=str(folder)), {}, store=store)
    assert (first.artifact.path / "read").read_text() == "monday.csv"
    assert (second.artifact.path / "read").read_text() == "monday.csv tuesday.csv"
    assert run_stage(stage, Reading(uri=str(folder)), {}, store=store).cached


@pytest.mark.parametrize("what", ["a file", "a folder"])
def test_a_source_that_changes_while_it_is_read_gives_nothing(store, tmp_path, what):
    """Tomorrow's rows under the key of today's: whoever asks for today's gets them for ever."""
    file = tmp_path / "data" / "rows.csv"
    file.parent.mkdir()
    file.write_text("1\n")
    uri = str(file if what == "a file" else file.parent)
    contents = ["2\n", "1\n"]

    def read(config, inputs, workspace):
        found = [path.name for path in workspace.work.iterdir()]
        (workspace.work / "checkpoint").write_text(file.read_text())
        stat = file.stat()
        file.write_text(contents.pop(0))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as large and as old as it was
        (workspace.output / "rows").write_text(" ".join(found) or "from nothing")
        return StageSummary()

    stage = Stage("reading", 1, read)
    for _ in range(2):
        with pytest.raises(SourceError, match="rows.csv' changed" if "file" in what else "changed"):
            run_stage(stage, Reading(uri=uri), {}, store=store)
    assert not (store.root / "artifacts").exists()
    contents.append("1\n")
    artifact = run_stage(stage, Reading(uri=uri), {}, store=store).artifact
    assert (artifact.path / "rows").read_text() == "from nothing"  # a checkpoint of either content
