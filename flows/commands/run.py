"""`decant run`: every step of a recipe that is not cached."""

import json
from typing import Annotated

from cyclopts import Parameter

from flows.console import listening, output
from flows.environment import prepare_environment, quieten, stay_offline
from flows.recipe_files import read_recipe
from flows.results import print_report, read_report, step_folder
from flows.running import Options, run_pipeline
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.device import cpu_count
from tasks.runtime.locations import home


def run(
    recipe: str = "quickstart",
    *,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    start_from: Annotated[str | None, Parameter(name="--from")] = None,
    force: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    no_orchestrator: Annotated[bool, Parameter(negative="")] = False,
    workers: int | None = None,
) -> None:
    """Run a recipe: every step that is not cached, then print the result table.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or path of a YAML file.
    set_
        Change a field, such as student.training.num_epochs=20; may be repeated.
    start_from
        Build this step again, and every step that depends on it.
    force
        Build this step again even if it is cached; may be repeated. What depends on it is built
        again only if its bytes changed.
    no_orchestrator
        Run in this process alone, without Prefect.
    workers
        Parallel workers of the data steps; changes no byte of any result. Default: all cores.
    """
    prepare_environment()
    quieten()
    chosen = read_recipe(recipe, set_)
    if not any(uri.startswith("hf://") for uri in chosen.locations()):
        stay_offline()
    store = ArtifactStore(home())
    options = Options(force, start_from, workers or cpu_count())
    with listening() as listener:
        if no_orchestrator:
            run_pipeline(chosen, store=store, options=options)
        else:
            listener.say("starting Prefect")
            from flows.distillation import distill

            distill(
                chosen,
                force=list(options.force),
                start_from=options.start_from,
                workers=options.workers,
            )
    _print_result(store, chosen.name)


def _print_result(store: ArtifactStore, recipe: str) -> None:
    console = output()
    evaluation = step_folder(store.root, recipe, "evaluation")
    print_report(read_report(evaluation), console)
    record = json.loads(
        (step_folder(store.root, recipe, "registration") / "record.json").read_text("utf-8")
    )
    console.print(f"report    {evaluation / 'report.html'}", markup=False, soft_wrap=True)
    aliases = ", ".join(record["aliases"])
    console.print(
        f"model     {record['model_name']}, version {record['version']} ({aliases})", markup=False
    )
