"""The only Prefect glue below the flows: a stage's step becomes a task.

- Retried only when a retry can help: a TransientError, or a network error of the operating system.
- Cached by our store, never by Prefect (`NO_CACHE`, nothing persisted: its cache pickles results
  and serves corrupt ones). A hit is returned as `Completed` under Prefect's own word `Cached`.
- No task tags: each costs concurrency calls to the API (503 and stalls of 2 s on SQLite).
- What a stage reports goes to the flow run's log, at most one line every few seconds.

A task that returns a State must be called with `return_state=True` and asked for its `.result()`.
"""

import time
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.states import Completed
from prefect.task_runners import TaskRunner
from prefect.tasks import Task, exponential_backoff

from data_contracts.artifacts import Artifact
from data_contracts.errors import DecantError, TransientError
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.machine.device import thread_count
from tasks.runtime.progress import Progress, StopTraining
from tasks.runtime.redaction import redact
from tasks.runtime.shards import Shard, run_shard
from tasks.runtime.stages import RunStage, Stage, StageConfig, StageOutcome, run_stage

RETRIES = 3
FIRST_DELAY_SECONDS = 2  # then 4 and 8; jitter spreads each over up to twice its length
_LOG_EVERY_SECONDS = 5.0
# OSErrors that mean a network or a peer went away; a full disk or a missing file is not among them.
_NETWORK_ERRORS = (ConnectionError, TimeoutError)


def is_worth_a_retry(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether the failure in `state` may vanish by itself (Prefect's `retry_condition_fn`)."""
    error = state.data
    return isinstance(error, (TransientError, *_NETWORK_ERRORS))


class TaskProgress:
    """Passes progress on to the console's listener and, throttled, to the task run's log."""

    def __init__(self, listener: Progress) -> None:
        """Use inside a running task only."""
        self._listener = listener
        self._logger = get_run_logger()
        self._description = ""
        self._unit = ""
        self._done = self._total = 0
        self._logged_at = time.monotonic()

    def start(self, description: str, *, total: int, unit: str) -> None:
        """A countable piece of work begins."""
        self._listener.start(description, total=total, unit=unit)
        self._description, self._unit = description, unit
        self._done, self._total = 0, total
        self._logger.info("%s: %s %s", redact(description), f"{total:,}", unit)

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """`amount` more units are done."""
        self._listener.advance(amount, note=note)
        self._done += amount
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_SECONDS:
            self._logged_at = now
            self._logger.info(
                "%s: %s of %s %s %s",
                redact(self._description),
                f"{self._done:,}",
                f"{self._total:,}",
                self._unit,
                redact(note),
            )

    def say(self, message: str) -> None:
        """One line worth reading."""
        self._listener.say(message)
        self._logger.info(redact(message))

    def validated(self, number: int, figures: dict[str, float]) -> None:
        """Pass it on: whoever listens may end the training."""
        self._listener.validated(number, figures)


def run_as_task(
    name: str,
    stage: Stage,
    config: StageConfig,
    inputs: Mapping[str, Artifact],
    *,
    store: ArtifactStore,
    progress: Progress,
    workers: int,
    force: bool,
    run_id: str = "",
    run: RunStage = run_stage,
) -> StageOutcome:
    """Run one step as a Prefect task of the current flow run; its outcome.

    Args:
        name: of the step; names the task run.
        progress: the console's listener; the task run's log hears the same.

    The rest is as for `run_stage`. Raises what the stage raises, after the retries, which all
    belong to one run: a forced step goes on from its checkpoints.
    """
    run_id = run_id or uuid.uuid4().hex
    outcomes: list[StageOutcome] = []
    stopped: list[StopTraining] = []

    # `inputs` is a parameter so that Prefect draws the edges between steps from it.
    def step(inputs: Mapping[str, Artifact]) -> State[Artifact]:
        try:
            with redacted_errors():
                outcome = run(
                    stage,
                    config,
                    inputs,
                    store=store,
                    progress=TaskProgress(progress),
                    workers=workers,
                    force=force,
                    run_id=run_id,
                )
        except StopTraining as stop:
            # Not a failure: a person's eye would look for a mistake behind each red one.
            stopped.append(stop)
            return Completed(name="Stopped", message=str(stop))
        outcomes.append(outcome)
        _show(name, outcome)
        return Completed(
            name="Cached" if outcome.cached else "Completed",
            message=f"artifact {outcome.artifact.key[:12]}",
            data=outcome.artifact,
        )

    state = Task(
        step,
        name=stage.name,
        task_run_name=name,
        description=f"Stage {stage.name}, version {stage.version}",
        **_rules(),
    )(dict(inputs), return_state=True)
    if stopped:
        raise stopped[0]
    artifact = cast(Artifact, state.result())
    return StageOutcome(artifact, cached=outcomes[-1].cached)


def _rules() -> dict[str, Any]:
    """How every task is retried, and that Prefect keeps nothing of it."""
    return {
        "retries": RETRIES,
        "retry_delay_seconds": exponential_backoff(FIRST_DELAY_SECONDS),
        "retry_jitter_factor": 1,
        "retry_condition_fn": is_worth_a_retry,
        "cache_policy": NO_CACHE,
        "persist_result": False,
    }


def run_shards_as_tasks(
    runner: TaskRunner[Any],
    shards: Sequence[Shard],
    *,
    root: Path,
    workers: int,
    force: bool,
    run_id: str,
) -> Iterator[StageOutcome]:
    """Build shards as Prefect tasks on `runner`, all at once; see `tasks.runtime.shards`.

    Raises: what a shard raises, after the retries.
    """
    threads = thread_count()

    def task(shard: Shard) -> Task[[], StageOutcome]:
        # Without parameters: Prefect would walk through them in search of futures.
        def build() -> StageOutcome:
            with redacted_errors():
                return run_shard(
                    shard, root=root, workers=workers, force=force, run_id=run_id, threads=threads
                )

        return Task(build, name=shard.stage.name, **_rules())

    futures = [runner.submit(task(shard), parameters={}) for shard in shards]
    for future in futures:
        yield future.result()


@contextmanager
def redacted_errors() -> Iterator[None]:
    """Let no error out of the block whose text, or whose causes' text, holds a secret.

    Prefect writes an error's message into its database and its traceback into the run's log. An
    error without a secret passes as it is. Another one is raised anew without its causes: one of
    ours as its own kind, a network error as a TransientError, so that it is still retried, any
    other as a RuntimeError whose message holds the redacted traceback.
    """
    try:
        yield
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        if redact(told) == told:
            raise
        raise _redacted(error, told) from None


def _redacted(error: Exception, told: str) -> Exception:
    if isinstance(error, DecantError):
        return type(error)(redact(error.fact), rule=redact(error.rule), remedy=redact(error.remedy))
    fact = redact(f"{type(error).__name__}: {error}")
    if isinstance(error, _NETWORK_ERRORS):
        return TransientError(fact)
    return RuntimeError(f"{fact}\n{redact(told)}")


def _show(name: str, outcome: StageOutcome) -> None:
    """A small table of what the step gave, on the run's page."""
    manifest = outcome.artifact.manifest
    rows: list[dict[str, Any]] = [
        {"what": key, "value": value} for key, value in manifest.facts.items()
    ]
    if counts := manifest.row_counts:
        rows.append({"what": "rows in", "value": counts.rows_in})
        rows.append({"what": "rows out", "value": counts.rows_out})
        for reason, number in sorted(counts.quarantined.items()):
            rows.append({"what": f"quarantined: {reason}", "value": number})
        for kind, number in sorted(counts.deduplicated.items()):
            rows.append({"what": f"deduplicated: {kind}", "value": number})
    rows.append({"what": "artifact", "value": manifest.key})
    create_table_artifact(
        table=rows,
        key=name.replace("_", "-"),  # Prefect takes a-z, 0-9 and dashes alone
        description=f"{'Cached' if outcome.cached else 'Built'}, stage {manifest.key_parts.stage}",
    )
