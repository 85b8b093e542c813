"""Stages as Prefect tasks: what is retried, what is shown, and that errors come through whole."""

import traceback

import pytest

from data_contracts.artifacts import StageSummary
from data_contracts.errors import RecipeError, TransientError
from tasks.policies import redacted_errors
from tasks.runtime.progress import SilentProgress, StopTraining
from tasks.runtime.stages import Stage, StageConfig

pytestmark = pytest.mark.slow


class Config(StageConfig):
    text: str = "a"


@pytest.fixture(scope="module")
def prefect_api(tmp_path_factory):
    """A Prefect server of its own for this file."""
    from prefect.settings import (
        PREFECT_API_SERVICES_SCHEDULER_ENABLED,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    quiet = {PREFECT_API_SERVICES_SCHEDULER_ENABLED: False, PREFECT_LOGGING_TO_API_ENABLED: True}
    with temporary_settings(quiet), prefect_test_harness(server_startup_timeout=120):
        yield


def run_in_flow(store, function, monkeypatch, *, force=False, step="one"):
    """Run one toy stage as a task of a flow run; outcome or error, and the task run's states."""
    from prefect import flow, runtime
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    from tasks import policies

    monkeypatch.setattr(policies, "FIRST_DELAY_SECONDS", 0.01)
    seen = {}

    @flow(name="toy", persist_result=False)
    def toy():
        seen["id"] = runtime.flow_run.id
        seen["outcome"] = policies.run_as_task(
            step,
            Stage("toy", 1, function),
            Config(),
            {},
            store=store,
            progress=SilentProgress(),
            workers=1,
            force=force,
        )

    try:
        toy()
    except Exception as error:
        seen["error"] = error
    with get_client(sync_client=True) as client:
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[seen["id"]]))
        (seen["task_run"],) = client.read_task_runs(flow_run_filter=chosen)
    return seen


def write(config, inputs, workspace):
    (workspace.output / "out").write_text(config.text)
    return StageSummary(facts={"letters": 1})


def test_a_hit_is_shown_as_cached_and_its_figures_as_a_table(prefect_api, store, monkeypatch):
    """The page would claim that an hour of training ran again."""
    from prefect.artifacts import Artifact as PageArtifact

    first = run_in_flow(store, write, monkeypatch)
    second = run_in_flow(store, write, monkeypatch)
    assert [first["outcome"].cached, second["outcome"].cached] == [False, True]
    assert [first["task_run"].state_name, second["task_run"].state_name] == ["Completed", "Cached"]
    assert second["outcome"].artifact == first["outcome"].artifact
    assert '"letters"' in PageArtifact.get("one").data


def test_a_step_named_after_a_teacher_is_shown_whatever_its_name(prefect_api, store, monkeypatch):
    """A co-teacher called `german_base` ends every run under Prefect, after an hour's training."""
    from prefect.artifacts import Artifact as PageArtifact

    seen = run_in_flow(store, write, monkeypatch, step="teacher-german_base")
    assert not seen["outcome"].cached
    assert seen["task_run"].name == "teacher-german_base"
    assert '"letters"' in PageArtifact.get("teacher-german-base").data


def test_a_training_that_was_ended_on_purpose_is_no_failure(prefect_api, store, monkeypatch):
    """A study's page full of red marks, one a trial that was behind the others."""
    calls = []

    def stop(config, inputs, workspace):
        calls.append(1)
        raise StopTraining("behind the others")

    ended = run_in_flow(store, stop, monkeypatch)
    assert isinstance(ended["error"], StopTraining)
    assert (ended["task_run"].state_type.value, ended["task_run"].state_name) == (
        "COMPLETED",
        "Stopped",
    )
    assert len(calls) == 1


def test_a_transient_error_is_retried_and_a_users_mistake_is_not(prefect_api, store, monkeypatch):
    """A blink of the network would end a night's run, or a typo be tried four times."""
    calls = []

    def flaky(config, inputs, workspace):
        calls.append("flaky")
        if len(calls) < 3:
            raise TransientError("the server is away")
        return write(config, inputs, workspace)

    assert not run_in_flow(store, flaky, monkeypatch)["outcome"].cached
    assert calls == ["flaky"] * 3

    def wrong(config, inputs, workspace):
        calls.append("wrong")
        raise RecipeError("fact 7", rule="rule", remedy="remedy")

    seen = run_in_flow(store.__class__(store.root / "other"), wrong, monkeypatch)
    assert calls.count("wrong") == 1
    error = seen["error"]
    assert type(error) is RecipeError
    assert (error.fact, error.rule, error.remedy) == ("fact 7", "rule", "remedy")
    assert seen["task_run"].state_name == "Failed"


def test_a_secret_in_an_error_stays_out_of_the_database(prefect_api, store, monkeypatch):
    """Whoever may read Prefect's pages would read the credentials of the data source."""
    monkeypatch.setenv("SOURCE_PASSWORD", "canary-8231")

    def leaks(config, inputs, workspace):
        try:
            raise KeyError("canary-8231")
        except KeyError as error:
            raise OSError(13, "access denied", "s3://me:canary-8231@bucket") from error

    seen = run_in_flow(store, leaks, monkeypatch)
    told = "".join(traceback.format_exception(seen["error"]))
    assert "access denied" in told
    assert "canary-8231" not in told
    assert "canary-8231" not in seen["task_run"].state.message


def leak(kind, **options):
    def raise_it():
        try:
            raise ValueError("canary-8231")
        except ValueError as error:
            raise kind("asked with canary-8231", **options) from error

    return raise_it


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        (RecipeError, RecipeError),
        (ConnectionResetError, TransientError),
        (TimeoutError, TransientError),
        (ZeroDivisionError, RuntimeError),
    ],
)
def test_no_kind_of_error_carries_a_secret_out(monkeypatch, kind, raised):
    """A driver's own error quotes the connection string, and only ours were cleaned."""
    monkeypatch.setenv("SOURCE_PASSWORD", "canary-8231")
    with pytest.raises(raised) as caught, redacted_errors():
        leak(kind)()
    assert type(caught.value) is raised
    told = "".join(traceback.format_exception(caught.value))
    assert "canary-8231" not in told
    assert "asked with" in told
    monkeypatch.delenv("SOURCE_PASSWORD")
    with pytest.raises(kind) as caught, redacted_errors():
        leak(kind)()
    assert isinstance(caught.value.__cause__, ValueError)  # nothing secret: told as it was


def test_a_retry_inside_a_forced_step_resumes(prefect_api, store, monkeypatch):
    """Forced training that begins from zero with each blink of the network never ends."""
    found = []

    def trains(config, inputs, workspace):
        checkpoint = workspace.work / "checkpoint"
        found.append(checkpoint.exists())
        checkpoint.write_text("epoch 8")
        if len(found) == 1:
            raise TransientError("the server is away")
        return write(config, inputs, workspace)

    run_in_flow(store, trains, monkeypatch, force=True)
    assert found == [False, True]
    run_in_flow(store, trains, monkeypatch, force=True)
    assert found == [False, True, False]
