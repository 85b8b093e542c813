"""The runner on toy stages: what it tells, and when."""

import importlib

import pytest

from data_contracts.artifacts import StageSummary
from flows.orchestration.processes import _PRELOAD
from flows.orchestration.runner import Options, Runner, SilentListener, call_directly
from flows.pipeline import small_steps
from flows.recipe.loading.files import read_recipe
from flows.runs.pointers import RunLog
from tasks.runtime.stages import Stage, StageConfig


class Config(StageConfig):
    text: str = "a"


def write(config, inputs, workspace):
    (workspace.output / "out").write_text(config.text)
    return StageSummary(facts={})


TOY = Stage("toy", 1, write)
SMALL = Stage("small", 1, write, on_one_thread=lambda config: True)


@pytest.fixture
def told_during(store):
    """Runs two steps, two small ones, and one after them, on texts of their own. Gives, each time
    that children are expected, the names of the steps that were finished."""

    def run(first="a", second="b", last="z"):
        told, finished = [], []

        class Notes(SilentListener):
            def step_finished(self, name, outcome, seconds):
                finished.append(name)

        log = RunLog(store.root, "toy")
        with log.run(("one", "two", "left", "right", "last")) as running:
            runner = Runner(
                *(store, log, running, Options(), call_directly, Notes(), 2),
                expect=lambda: told.append(tuple(finished)),
            )
            one = runner("one", TOY, Config(text=first))
            two = runner("two", TOY, Config(text=second), one=one)
            left = runner("left", SMALL, Config(text="left"), two=two)
            right = runner("right", SMALL, Config(text="right"), two=two)
            runner("last", TOY, Config(text=last), left=left, right=right)
        return told

    return run


def test_children_are_expected_when_what_they_wait_for_is_built(told_during):
    """Their imports would begin when they are waited for."""
    assert told_during() == [(), ("one",)]
    assert told_during(second="c") == [("one",)]


def test_nobody_is_expected_where_all_is_cached_or_only_what_follows_is_built(told_during):
    """A run with a changed gate would spend five seconds of a core on importing torch for nobody,
    while it times the student."""
    told_during()
    assert told_during() == []
    assert told_during(last="y") == []


def test_small_students_are_counted():
    """The nine students of the quickstart would each wait for the imports; or a recipe of large
    ones would pay for children that it never has."""
    assert len(small_steps(read_recipe("quickstart"))) == 9
    assert small_steps(read_recipe("sib200")) == []


def test_what_children_need_exists():
    """The process they are forked from passes over a module that was renamed: nobody would see it,
    and every student would import for itself."""
    for name in _PRELOAD:
        importlib.import_module(name)
