"""`decant serve`: a recipe as a Prefect deployment."""

import os
from contextlib import ExitStack

from data_contracts.errors import UserError
from flows.console.options import Changes, Port
from flows.orchestration.environment import prepare_environment, quieten
from flows.orchestration.schedule import check_schedule
from flows.orchestration.servers import api_at, end_in_order_on_sigterm, free_port, prefect_server
from flows.preflight.refusals import check_before_run
from flows.recipe.loading.files import read_recipe
from tasks.runtime.files.locations import home


def serve(
    recipe: str = "quickstart",
    *,
    cron: str | None = None,
    name: str | None = None,
    set_: Changes = (),
    port: Port = 4200,
) -> None:
    """Offer a recipe as a Prefect deployment, with a schedule, until Ctrl-C.

    Without PREFECT_API_URL, a Prefect server is started on this machine too.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or path of a YAML file.
    cron
        When to run by itself, as five cron fields in UTC, such as "0 3 * * *"; default: never.
    name
        Name of the deployment; default: the recipe's.
    set_
        FIELD=VALUE: change a field, such as student.training.num_epochs=20, the value as in YAML,
        an item of a list by its number (data.sources.0.uri=my.csv); may be repeated. Default: none.
    port
        Port of the Prefect server, if one is started; another free one is taken if it is in use.
    """
    prepare_environment(console_logs=True)
    quieten()
    chosen = read_recipe(recipe, set_)
    check_before_run(chosen)
    if name is not None and not (name and set(name).isdisjoint("/%")):
        raise UserError(
            f"--name {name!r} cannot name a deployment",
            rule="Prefect writes it into addresses: it is not empty and has neither / nor %",
            remedy=f"such as --name {chosen.name}-nightly",
        )
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    starts_server = "PREFECT_API_URL" not in os.environ
    if starts_server:
        port = free_port(port)
        os.environ["PREFECT_API_URL"] = api_at(port)
    # Prefect's settings are fixed at its import: not before the server's address is among them.
    if cron is not None:
        check_schedule(cron)
    end_in_order_on_sigterm()
    home().mkdir(parents=True, exist_ok=True)
    from flows.orchestration.deployment import serve_recipe

    with ExitStack() as stack:
        if starts_server:
            stack.enter_context(prefect_server(port))
        deployment = name or chosen.name
        print(f"deployment distill/{deployment} at {os.environ['PREFECT_API_URL']}", flush=True)
        serve_recipe(chosen, name=deployment, cron=cron)
