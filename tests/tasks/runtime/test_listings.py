"""One set of files from the key to the result, whatever arrives meanwhile."""

from data_contracts.artifacts import StageSummary
from tasks.runtime.locations import local_files
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
