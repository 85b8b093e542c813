"""`decant tune`: the tuning study of a recipe, which trains students alone."""

from flows.console.options import Changes, Count, Flag
from flows.console.progress import listening, output
from flows.orchestration.environment import prepare_environment, quieten, stay_offline
from flows.orchestration.runner import Options
from flows.orchestration.servers import find_prefect_api
from flows.preflight.paths import check_places
from flows.recipe.loading.files import encoder_recipe, read_recipe
from flows.studies.results import print_study
from flows.studies.study import check_study, run_study
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.locations import home
from tasks.runtime.machine.device import cpu_count


def tune(
    recipe: str = "quickstart",
    *,
    set_: Changes = (),
    no_orchestrator: Flag = False,
    workers: Count | None = None,
) -> None:
    """Search the student's settings: run the trials of the recipe's section tuning.

    Corpus, tokens, teacher and signals are built once and come from the store after that: a trial
    trains a student. Trials are compared on validation rows. A study that was killed goes on where
    it was; --set tuning.num_trials=40 goes on with a finished one.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or path of a YAML file, with a section tuning.
    set_
        FIELD=VALUE: change a field, such as tuning.num_trials=40, the value as in YAML,
        an item of a list by its number (data.sources.0.uri=my.csv); may be repeated. Default: none.
    no_orchestrator
        Run in this process alone, without Prefect. Default: with Prefect.
    workers
        Parallel workers of the data steps, and small students trained side by side on CPUs; changes
        no byte of any result. Default: all cores.
    """
    prepare_environment()
    quieten()
    chosen = encoder_recipe(read_recipe(recipe, set_))
    check_study(chosen)  # told before a server is started for it
    check_places(chosen, recipe)
    if not any(uri.startswith("hf://") for uri in chosen.locations()):
        stay_offline()
    store = ArtifactStore(home())
    options = Options(workers=workers or cpu_count())
    with listening() as listener:
        if no_orchestrator:
            result = run_study(chosen, store=store, options=options)
        else:
            listener.say("starting Prefect")
            wait_until_up = find_prefect_api()
            from flows.tuning import tune as tune_flow

            wait_until_up()
            result = tune_flow(chosen, workers=options.workers)
    print_study(result, output())
