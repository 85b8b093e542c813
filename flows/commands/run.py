"""`decant run`: every step of a recipe that is not cached."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from cyclopts import Parameter

from data_contracts.artifacts import Artifact
from data_contracts.errors import GateRefused, UserError
from flows.console.options import Changes, Count, Flag
from flows.console.progress import listening, output
from flows.orchestration.environment import prepare_environment, quieten, stay_offline
from flows.orchestration.runner import LISTENER, Listener, Options, check_steps, run_pipeline
from flows.orchestration.servers import find_prefect_api
from flows.preflight.paths import check_places
from flows.preflight.refusals import check_before_run
from flows.recipe.base import RecipeBase
from flows.recipe.loading.files import AnyRecipe, read_recipe
from flows.runs.results import print_report, read_report
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.locations import home
from tasks.runtime.machine.device import PROCESSES, SHARDED, cpu_count
from tasks.runtime.progress import Progress
from tasks.runtime.redaction import redact
from tasks.runtime.stages import StageOutcome
from tasks.serving.bundle.interfaces import input_rows
from tasks.serving.registry.registry import aliases_of, tracking_uri


def run(
    recipe: str = "quickstart",
    *,
    set_: Changes = (),
    start_from: Annotated[str | None, Parameter(name="--from")] = None,
    force: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    no_orchestrator: Flag = False,
    workers: Count | None = None,
    shards_on: Literal["here", "processes", "ray"] = "here",
    processes: Count | None = None,
    sharded: Flag = False,
) -> None:
    """Run a recipe: every step that is not cached, then print the result table.

    The student is registered if it passes the recipe's gates. A run that was killed goes on where
    it was: give the same command again.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or path of a YAML file.
    set_
        FIELD=VALUE: change a field, such as student.training.num_epochs=20, the value as in YAML,
        an item of a list by its number (data.sources.0.uri=my.csv); may be repeated. Default: none.
    start_from
        Build this step again, such as teacher, and every step that depends on it; decant plan lists
        the steps. Default: none.
    force
        Build this step again even if it is cached; may be repeated. What depends on it is built
        again only if its bytes changed. Default: none.
    no_orchestrator
        Run in this process alone, without Prefect: it starts sooner, and its pages (decant ui) do
        not show the run. Default: with Prefect.
    workers
        Parallel workers of the data steps, and small students trained side by side on CPUs; changes
        no byte of any result. Default: all cores.
    shards_on
        Where tokens and teacher signals are made: here, in processes of this machine, or on the Ray
        cluster of RAY_ADDRESS (or one started here).
    processes
        Processes that train one model together, through torchrun. Default: one a GPU, or one.
    sharded
        Give each of these processes a part of the model (FSDP2), for models too big for one.
        Default: each has the whole.
    """
    if processes is not None:
        os.environ[PROCESSES] = str(processes)
    if sharded:
        os.environ[SHARDED] = "1"
    if no_orchestrator and shards_on != "here":
        raise UserError(
            f"--shards-on {shards_on} with --no-orchestrator",
            rule="shards are handed to other processes as Prefect tasks",
            remedy="leave one of the two out",
        )
    prepare_environment()
    quieten()
    chosen = read_recipe(recipe, set_)
    check_before_run(chosen)
    options = Options(force, start_from, workers or cpu_count())
    check_steps(chosen, options)  # told before a server is started for it
    check_places(chosen, recipe)
    if not any(uri.startswith("hf://") for uri in chosen.locations()):
        stay_offline()
    store = ArtifactStore(home())
    given: dict[str, Artifact] = {}
    try:
        with listening() as listener, _keeping(given, listener):
            if no_orchestrator:
                run_pipeline(chosen, store=store, options=options)
            else:
                _run_as_flow(chosen, options, listener, shards_on)
    except GateRefused:
        # The student was evaluated all the same: show what it was refused for.
        _print_evaluation(given["evaluation"])
        raise
    _print_evaluation(given["evaluation"])
    _print_model(given["registration"], chosen)


def _run_as_flow(
    recipe: AnyRecipe,
    options: Options,
    listener: Listener,
    shards_on: Literal["here", "processes", "ray"],
) -> None:
    listener.say("starting Prefect")
    wait_until_up = find_prefect_api()
    from flows.distillation import distill

    wait_until_up()
    distill(
        recipe,
        force=list(options.force),
        start_from=options.start_from,
        workers=options.workers,
        shards_on=shards_on,
    )


class _Keeper:
    """A listener that passes everything on to another, and keeps the artifacts."""

    def __init__(self, given: dict[str, Artifact], listener: Listener) -> None:
        self._given, self._listener = given, listener

    def say(self, message: str) -> None:
        self._listener.say(message)

    def step_started(self, name: str) -> Progress:
        return self._listener.step_started(name)

    def step_finished(self, name: str, outcome: StageOutcome, seconds: float) -> None:
        self._given[name] = outcome.artifact
        self._listener.step_finished(name, outcome, seconds)

    def step_left(self, name: str) -> None:
        self._listener.step_left(name)


@contextmanager
def _keeping(given: dict[str, Artifact], listener: Listener) -> Iterator[None]:
    """Put what each step gives into `given`, by name, while the block lasts.

    What a recipe used last may be another run's by the time that this one has ended.
    """
    token = LISTENER.set(_Keeper(given, listener))
    try:
        yield
    finally:
        LISTENER.reset(token)


def _print_evaluation(evaluation: Artifact) -> None:
    console = output()
    print_report(read_report(evaluation.path), console)
    page = evaluation.path / "report.html"
    console.print(f"\nreport  {page}", markup=False, soft_wrap=True)


def _print_model(registration: Artifact, recipe: RecipeBase) -> None:
    record = json.loads((registration.path / "record.json").read_text(encoding="utf-8"))
    name, version = record["model_name"], record["version"]
    # Not those on record: a promotion or a rollback may have moved them since.
    aliases = ", ".join(aliases_of(name, version))
    rows = input_rows(recipe.problem_name, recipe.registration_config().example_texts)
    columns = {column: [row[column] for row in rows] for column in rows[0]}
    print(f"model   {name}, version {version}{f' ({aliases})' if aliases else ''}\n")
    print("ask it:")
    print("  import mlflow, pandas")
    print(f"  mlflow.set_tracking_uri({redact(tracking_uri())!r})")
    print(f'  model = mlflow.pyfunc.load_model("models:/{name}/{version}")')
    print(f"  model.predict(pandas.DataFrame({json.dumps(columns, ensure_ascii=False)}))")
