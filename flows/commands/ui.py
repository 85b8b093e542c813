"""`decant ui`: Prefect's and MLflow's pages, on this machine only."""

import time
from contextlib import ExitStack

from flows.console.options import Port
from flows.orchestration.environment import prepare_environment
from flows.orchestration.servers import (
    end_in_order_on_sigterm,
    free_port,
    mlflow_server,
    prefect_server,
)
from tasks.runtime.files.locations import home


def ui(*, prefect_port: Port = 4200, mlflow_port: Port = 5000) -> None:
    """Serve Prefect's and MLflow's pages on this machine until Ctrl-C.

    Parameters
    ----------
    prefect_port
        Port of Prefect's pages; another free one is taken if it is in use.
    mlflow_port
        Port of MLflow's pages; likewise.
    """
    prepare_environment()
    end_in_order_on_sigterm()
    home().mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        print("starting both servers (about 15 s)", flush=True)
        api = stack.enter_context(prefect_server(free_port(prefect_port)))
        pages = stack.enter_context(mlflow_server(free_port(mlflow_port)))
        print(f"Prefect  {api.removesuffix('/api')}  runs, steps, tables")
        print(f"MLflow   {pages}  figures, plots, models, aliases")
        print("Ctrl-C ends both", flush=True)
        while True:
            time.sleep(3600)
