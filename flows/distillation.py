"""The Prefect flow: the pipeline of `flows.pipeline`, each step a task, shown on Prefect's pages.

Its parameters are the recipe model itself, so the form of a deployment comes from the recipe's own
descriptions. The store decides what is cached; Prefect shows it.

No `from __future__ import annotations` here: with it, a served run cannot resolve the parameter
types (and only a served run: direct calls work).
"""

from contextlib import ExitStack
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run
from pydantic import TypeAdapter

from data_contracts.artifacts import Artifact
from flows.orchestration.orphans import mark_alive, reap_orphans
from flows.orchestration.runner import Options, run_pipeline
from flows.orchestration.sharding import ShardsOn, sharding
from flows.recipe.base import RecipeBase
from flows.recipe.loading.files import AnyRecipe
from flows.recipe.recipe import Recipe
from flows.recipe.seq2seq import Seq2SeqRecipe
from flows.runs.results import comparison_lines, read_report, systems_rows
from tasks.policies import redacted_errors, run_as_task
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.locations import home
from tasks.runtime.fingerprint import fingerprint
from tasks.runtime.machine.device import cpu_count

FLOW_NAME = "distill"


def _flow_run_name() -> str:
    """`quickstart-3f9c01ab`: the recipe's name and the start of its fingerprint."""
    recipe = TypeAdapter(AnyRecipe).validate_python(flow_run.parameters["recipe"])
    return f"{recipe.name}-{fingerprint(recipe)[:8]}"


@flow(
    name=FLOW_NAME,
    flow_run_name=_flow_run_name,
    description="Distil a teacher of one language into a small student of another.",
    persist_result=False,
)
def distill(
    recipe: Recipe | Seq2SeqRecipe,
    force: list[str] = [],  # noqa: B006  # Prefect's form wants a list; it is never changed
    start_from: str | None = None,
    workers: int | None = None,
    shards_on: ShardsOn = "here",
) -> None:
    """Run every step of `recipe` that is not cached.

    Args:
        recipe: what to build, completely.
        force: names of steps to build again even if they are cached.
        start_from: a step to build again together with all that depend on it.
        workers: parallel workers of the data steps, and small students trained side by side on
            CPUs; all cores if not given. Changes no result.
        shards_on: where tokens and teacher signals are made: here, in processes of this machine, or
            on the Ray cluster of RAY_ADDRESS (or one started here). Changes no result.
    """
    store = ArtifactStore(home())
    # A flow run that is retried as a whole keeps its id, and so its forced steps' checkpoints.
    options = Options(tuple(force), start_from, workers or cpu_count(), run_id=flow_run.id)
    with redacted_errors(), ExitStack() as stack:
        if run_id := flow_run.id:
            stack.enter_context(mark_alive(run_id))
            reap_orphans(FLOW_NAME)
        stack.enter_context(sharding(shards_on, workers=options.workers))
        artifacts = run_pipeline(recipe, store=store, options=options, call=run_as_task)
        _show_result(recipe, artifacts["evaluation"])


def _show_result(recipe: RecipeBase, evaluation: Artifact) -> None:
    """Table of systems and comparisons on the flow run's page."""
    report = read_report(evaluation.path)
    create_table_artifact(
        key="result",
        table=[dict(row) for row in systems_rows(report)],
        description=f"Systems of recipe {recipe.name}",
    )
    path = Path(evaluation.path) / "report.html"
    lines = "\n".join(f"- {line}" for line in comparison_lines(report))
    create_markdown_artifact(
        key="report",
        markdown=f"[Full report]({path.as_uri()}): `{path}`\n\n{lines}\n",
        description=f"Report of recipe {recipe.name}",
    )
