"""The runner on toy stages: what it tells, and when."""

import pytest

from data_contracts.artifacts import StageSummary
from flows.running import Options, Runner, SilentListener, call_directly
from flows.runs import RunLog
from tasks.runtime.stages import Stage, StageConfig


class Config(StageConfig):
    text: str = "a"


def write(config, inputs, workspace):
    (workspace.output / "out").write_text(config.text)
    return StageSummary(facts={})


TOY = Stage("toy", 1, write)


@pytest.fixture
def told_during(store):
    """Runs three steps; gives the names of those that were finished when the first was built."""

    def run(third="c"):
        told, finished = [], []

        class Notes(SilentListener):
            def step_finished(self, name, outcome, seconds):
                finished.append(name)

        log = RunLog(store.root, "toy")
        with log.run(("one", "two", "three")) as running:
            runner = Runner(
                *(store, log, running, Options(), call_directly, Notes()),
                lambda: told.append(tuple(finished)),
            )
            one = runner("one", TOY, Config())
            two = runner("two", TOY, Config(text="b"), one=one)
            runner("three", TOY, Config(text=third), two=two)
        return told

    return run


def test_the_first_step_that_is_built_is_told_at_once_and_a_cached_run_tells_nothing(told_during):
    """Children's imports would begin when the children are waited for; or a run that finds
    everything cached would spend five seconds of a core on importing torch for nobody."""
    assert told_during() == [()]
    assert told_during() == []
    assert told_during(third="z") == [("one", "two")]
