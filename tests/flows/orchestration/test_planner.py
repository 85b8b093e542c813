"""Plan and run on toy stages: the plan must agree with what a run then does, and say why."""

import pytest

from data_contracts.artifacts import StageSummary
from flows.orchestration.planner import Planner, explain
from flows.orchestration.runner import Options, Runner, SilentListener, call_directly
from flows.runs.pointers import RunLog
from tasks.runtime.stages import Stage, StageConfig, key_parts


class Config(StageConfig):
    text: str = "a"
    source: str | None = None

    def locations(self):
        return (self.source,) if self.source else ()


def write(config, inputs, workspace):
    read = "".join((artifact.path / "out").read_text() for artifact in inputs.values())
    (workspace.output / "out").write_text(read + config.text)
    return StageSummary(facts={"length": len(read + config.text)})


TOY = Stage("toy", 1, write)


def chain(step, first="a", second="b", source=None, version=1, score_version=1):
    toy = Stage("toy", version, write, score_version=lambda config: score_version)
    one = step("one", toy, Config(text=first, source=source))
    two = step("two", TOY, Config(text=second), one=one)
    return step("three", TOY, Config(text="c"), two=two)


def run(store, *, options=None, **changes):
    log = RunLog(store.root, "toy")
    cached = {}

    class Notes(SilentListener):
        def step_finished(self, name, outcome, seconds):
            cached[name] = outcome.cached

    with log.run(("one", "two", "three")) as running:
        runner = Runner(store, log, running, options or Options(), call_directly, Notes())
        chain(runner, **changes)
    return cached


def plan(store, **changes):
    planner = Planner(store, RunLog(store.root, "toy"))
    chain(planner, **changes)
    return {step.name: step.reasons for step in planner.steps if not step.cached}


def test_plan_of_an_empty_store_says_never_built(store):
    """A new user would be told about changed keys that never existed."""
    assert plan(store) == {
        "one": ("never built",),
        "two": ("never built",),
        "three": ("never built",),
    }


def test_after_a_run_everything_is_cached(store):
    """A second run would retrain for nothing."""
    assert run(store) == {"one": False, "two": False, "three": False}
    assert plan(store) == {}
    assert run(store) == {"one": True, "two": True, "three": True}


def test_plan_names_the_changed_field_with_both_values(store):
    """A person would have to compare two hashes to see why an hour of training starts again."""
    run(store)
    reasons = plan(store, second="z")
    assert reasons["two"] == ('config.text "b" → "z"',)
    assert reasons["three"] == ("two will run",)
    assert "one" not in reasons


def test_plan_tells_changed_bytes_of_a_source_from_a_moved_file(store, tmp_path):
    """Moving a file would look like new data, or new data like nothing."""
    data = tmp_path / "data.csv"
    data.write_text("x")
    run(store, source=str(data))
    moved = tmp_path / "elsewhere.csv"
    data.rename(moved)
    assert plan(store, source=str(moved)) == {}
    moved.write_text("y")
    assert plan(store, source=str(moved))["one"] == (f"content of {moved} changed",)


def test_plan_names_a_bumped_stage_version(store):
    """After an upgrade a person would look for the change in the recipe, where none is."""
    run(store)
    assert plan(store, version=2)["one"] == ("stage version 1 → 2",)
    changed = ("version of the problem's validation figures 1 → 2",)
    assert plan(store, score_version=2)["one"] == changed


def test_plan_says_which_upstream_content_changed(store):
    """An upstream rebuilt to other bytes would leave its dependents stale without a word."""
    run(store)
    run(store, first="x")
    assert plan(store, first="x") == {}
    log = RunLog(store.root, "toy")
    old = key_parts(TOY, Config(text="b"), {})
    new = old.model_copy(update={"upstream": {"one": "1" * 64}})
    assert explain(old.model_copy(update={"upstream": {"one": "2" * 64}}), new, {}) == [
        "content of input one changed"
    ]
    assert log.step("two").key_parts.upstream.keys() == {"one"}


def test_inputs_and_settings_that_come_and_go_are_named():
    """A student that gets a second teacher: "nothing changed", and it is trained for an hour."""
    old = key_parts(TOY, Config(), {}).model_copy(
        update={"upstream": {"kept": "1", "gone": "2"}, "config": {"many": {}, "left": [1]}}
    )
    new = old.model_copy(
        update={"upstream": {"kept": "1", "new": "2"}, "config": {"many": {"a": 2}, "left": [1]}}
    )
    there = ["input gone is gone", "input new is new"]
    back = ["input gone is new", "input new is gone"]
    assert explain(old, new, new.config) == [
        *there, "config.many is gone (was {})", "config.many.a is new: 2",
    ]  # fmt: skip
    assert explain(new, old, old.config)[:2] == back
    assert explain(old, new, new.config, unknown=frozenset({"new"}))[:1] == there[:1]
    assert explain(new, new, new.config) == []


class Wide(StageConfig):
    values: tuple[int, ...]


@pytest.mark.parametrize(
    ("num_changed", "told"), [(4, 4), (5, "and 1 more changes"), (7, "and 3 more changes")]
)
def test_of_many_changes_the_first_are_told_and_the_rest_counted(store, num_changed, told):
    """A page of digits for each of thirty steps, or a change that is hidden without a word."""
    made = Wide(values=(0,) * 9)
    log = RunLog(store.root, "wide")
    with log.run(("wide",)) as running:
        runner = Runner(store, log, running, Options(), call_directly, SilentListener())
        runner("wide", Stage("wide", 1, lambda *_: StageSummary()), made)
    planner = Planner(store, log)
    changed = Wide(values=(1,) * num_changed + (0,) * (9 - num_changed))
    reasons = planner("wide", Stage("wide", 1, write), changed).reasons
    assert reasons[:4] == tuple(f"config.values.{at} 0 → 1" for at in range(4))
    assert reasons[4:] == (() if told == 4 else (told,))


@pytest.mark.parametrize(
    ("num_inputs", "told"),
    [(1, "s0 will run"), (2, "s0 and s1 will run"), (3, "s0, s1 and 1 more will run"),
     (5, "s0, s1 and 3 more will run")],
)  # fmt: skip
def test_of_many_steps_before_it_the_first_are_told_and_the_rest_counted(store, num_inputs, told):
    """A step that compares thirty students names all of them in one line."""
    log = RunLog(store.root, "fan")

    def fan(step, text):
        made = {
            name: step(name, TOY, Config(text=f"{text} {name}"))
            for name in (f"s{at}" for at in range(num_inputs))
        }
        return step("all", TOY, Config(), **made)

    with log.run(("all",)) as running:
        fan(Runner(store, log, running, Options(), call_directly, SilentListener()), "a")
    assert fan(Planner(store, log), "b").reasons == (told,)


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_plan_sees_damaged_and_removed_artifacts(store, damage):
    """A run would be announced as cached and then train for an hour."""
    run(store)
    log = RunLog(store.root, "toy")
    folder = store.root / "artifacts" / "toy" / log.step("one").key
    if damage == "flip":
        (folder / "out").write_text("b")
        expected = "has changed since it was written"
    else:
        (folder / "manifest.json").unlink()
        expected = "is no longer in the store"
    (reason,) = plan(store)["one"]
    assert expected in reason


def test_an_upstream_rebuilt_to_the_same_bytes_leaves_dependents_cached(store):
    """`--force corpus` would retrain every model though no byte changed."""
    run(store)
    assert run(store, options=Options(force=("one",))) == {
        "one": False,
        "two": True,
        "three": True,
    }


def test_from_builds_the_step_and_all_that_depend_on_it(store):
    """`--from teacher` would reuse the students of the teacher that was doubted."""
    run(store)
    assert run(store, options=Options(start_from="two")) == {
        "one": True,
        "two": False,
        "three": False,
    }


def test_a_failed_run_says_where_and_a_killed_one_is_not_alive(store):
    """`decant status` would show a crashed run as running for ever."""
    log = RunLog(store.root, "toy")

    def fail():
        with log.run(("one",)) as running:
            running.step = "one"
            assert log.is_alive(log.last_run())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    record = log.last_run()
    assert (record.state, record.failed_step) == ("failed", "one")
    assert not log.is_alive(record)
