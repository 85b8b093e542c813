"""The Prefect flow of batch scoring: shards in processes or on Ray.

No `from __future__ import annotations` here: Prefect reads the flow's types.
"""

from contextlib import ExitStack
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows.orchestration.orphans import mark_alive, reap_orphans
from flows.orchestration.scoring import score_in_shards
from flows.orchestration.sharding import ShardsOn, sharding
from tasks.policies import redacted_errors, run_as_task
from tasks.runtime.machine.device import cpu_count
from tasks.serving.scoring.scoring import ScoringConfig, ScoringReport

FLOW_NAME = "score"


@flow(
    name=FLOW_NAME,
    description="Answer files of texts with a registered or exported student, shard by shard.",
    persist_result=False,
)
def score(
    model: str,
    source: str,
    output: str,
    config: ScoringConfig = ScoringConfig(),  # noqa: B008  # frozen
    rows_per_shard: int = 100_000,
    shards_on: ShardsOn = "processes",
    workers: int | None = None,
) -> ScoringReport:
    """Score the texts of `source` into Parquet files in the folder `output`.

    Args:
        model: models:/name@champion, models:/name/3, or the folder of an exported student.
        source: file, folder or glob; also s3:// and hf://datasets/...
        output: folder, made or replaced once all is scored.
        config: which columns are read, and by which form of the student.
        rows_per_shard: rows after which a shard ends, rounded up to whole batches of 8,192.
        shards_on: here, in processes of this machine, or on the Ray cluster of RAY_ADDRESS (or one
            started here). Changes no answer.
        workers: cores for processes; all if not given. Changes no answer.
    """
    workers = workers or cpu_count()
    on_gpu = None if config.variant == "safetensors" else False
    with redacted_errors(), ExitStack() as stack:
        if run_id := flow_run.id:
            stack.enter_context(mark_alive(run_id))
            reap_orphans(FLOW_NAME)
        stack.enter_context(sharding(shards_on, workers=workers, on_gpu=on_gpu))
        return score_in_shards(
            model, source, Path(output), config, rows_per_shard=rows_per_shard, call=run_as_task
        )
