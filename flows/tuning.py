"""The Prefect flow of a tuning study: shared steps and trials as tasks, figures on its page.

A trial that was ended early shows as Completed under the name `Stopped`: it is no failure.

No `from __future__ import annotations` here: with it, a served run cannot resolve the parameter
types (and only a served run: direct calls work).
"""

from contextlib import ExitStack

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from flows.orchestration.orphans import mark_alive, reap_orphans
from flows.orchestration.runner import Options
from flows.recipe.recipe import Recipe
from flows.studies.results import StudyResult
from flows.studies.study import run_study
from tasks.policies import redacted_errors, run_as_task
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.locations import home
from tasks.runtime.fingerprint import fingerprint
from tasks.runtime.machine.device import cpu_count

FLOW_NAME = "tune"


def _flow_run_name() -> str:
    """`tune-quickstart-3f9c01ab`: the recipe's name and the start of its fingerprint."""
    recipe = Recipe.model_validate(flow_run.parameters["recipe"])
    return f"{FLOW_NAME}-{recipe.name}-{fingerprint(recipe)[:8]}"


@flow(
    name=FLOW_NAME,
    flow_run_name=_flow_run_name,
    description="Search the student's settings for the best figure on validation rows.",
    persist_result=False,
)
def tune(recipe: Recipe, workers: int | None = None) -> StudyResult:
    """Run the trials of the recipe's section `tuning` that are still to run.

    Args:
        recipe: what to build, completely, with a section `tuning`.
        workers: parallel workers of the data steps, and small students trained side by side on
            CPUs; all cores if not given. Changes no result.
    """
    options = Options(workers=workers or cpu_count(), run_id=flow_run.id)
    with redacted_errors(), ExitStack() as stack:
        if run_id := flow_run.id:
            stack.enter_context(mark_alive(run_id))
            reap_orphans(FLOW_NAME)
        result = run_study(recipe, store=ArtifactStore(home()), options=options, call=run_as_task)
        _show_result(result)
        return result


def _show_result(result: StudyResult) -> None:
    """Table of trials on the flow run's page, and where the best recipe lies."""
    create_table_artifact(
        key="trials",
        table=[dict(row) for row in result.rows()],
        description=f"Trials of recipe {result.recipe}",
    )
    best = result.folder / "best.yaml"
    create_markdown_artifact(
        key="best-recipe",
        markdown=f"```yaml\n{best.read_text(encoding='utf-8')}```\n\n`decant run {best}`\n",
        description=f"Best recipe of the study of {result.recipe}",
    )
