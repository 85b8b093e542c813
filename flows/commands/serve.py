"""`decant serve`: a recipe as a Prefect deployment."""

import os
from contextlib import ExitStack

from data_contracts.errors import UserError
from flows.before_run import check_before_run
from flows.commands.options import Changes, Port
from flows.environment import prepare_environment, quieten
from flows.recipe_files import read_recipe
from flows.servers import end_in_order_on_sigterm, free_port, prefect_server
from tasks.runtime.locations import home


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
    if cron is not None and len(cron.split()) != 5:  # told before a server is started for it
        raise _no_schedule(cron)
    if name is not None and not (name and set(name).isdisjoint("/%")):
        raise UserError(
            f"--name {name!r} cannot name a deployment",
            rule="Prefect writes it into addresses: it is not empty and has neither / nor %",
            remedy=f"such as --name {chosen.name}-nightly",
        )
    end_in_order_on_sigterm()
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    home().mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if "PREFECT_API_URL" not in os.environ:
            api = stack.enter_context(prefect_server(free_port(port)))
            os.environ["PREFECT_API_URL"] = api
        # Prefect's settings are fixed at its import: not before the server's address is among them.
        from flows.deployment import is_schedule, serve_recipe

        if cron is not None and not is_schedule(cron):
            raise _no_schedule(cron)
        deployment = name or chosen.name
        print(f"deployment distill/{deployment} at {os.environ['PREFECT_API_URL']}", flush=True)
        serve_recipe(chosen, name=deployment, cron=cron)


def _no_schedule(cron: str) -> UserError:
    given = len(cron.split())
    return UserError(
        f"--cron {cron!r} is no schedule" + (f": it has {given} fields" if given != 5 else ""),
        rule="five fields: minute, hour, day of the month, month, day of the week, in UTC",
        remedy='such as --cron "0 3 * * *", every night at three',
    )
