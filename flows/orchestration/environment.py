"""Variables that must stand before prefect, mlflow or transformers are first imported.

All are defaults: whatever the caller's environment says wins. Nothing is reported to anyone, no
library draws its own progress bar, and Prefect keeps its database in Decant's home.
"""

import logging
import os
import warnings

from tasks.runtime.redaction import RedactingFilter

_DEFAULTS = {
    # No telemetry.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # The embedded server takes 5 s to start, 11 s on a new home, more on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLI_PROMPT": "false",
    # Models are read as files, never as pickles.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # Quiet: our own progress says what happens.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",  # two dozen lines of retries before the error that says it all
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
# What happens in a run is shown by progress of our own, and its end told in three lines.
_RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
_CHATTY_LOGGERS = ("alembic", "mlflow", "httpx", "datasets", "transformers", "matplotlib", "onnx")


def prepare_environment(*, console_logs: bool = False) -> None:
    """Set the defaults above; call it before anything imports prefect, mlflow or transformers.

    Args:
        console_logs: leave Prefect's log lines on stderr (`decant serve`); otherwise they go to the
            Prefect API only, because the console shows progress of its own.
    """
    from tasks.runtime.files.locations import home

    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(home() / "prefect"))
    if not console_logs:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


def answer_soon() -> None:
    """Ask a registry that does not answer three times, for commands that a person waits for.

    By MLflow's own defaults a server that is not there is told after four minutes (255 s on
    2026-12-01), and one that hangs after a quarter of an hour. At the end of a run, which took
    longer to get there, that patience is right.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


def stay_offline() -> None:
    """Keep the hub client from calling out, for recipes whose files all lie on this machine."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")


def quieten() -> None:
    """Keep third-party chatter off the console and secrets out of every log line."""
    if "PYTHONWARNINGS" not in os.environ:
        warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.WARNING)  # loggers below the root may let more through
        handler.addFilter(lambda record: not record.name.startswith(_RUN_LOGGERS))
        handler.addFilter(RedactingFilter())
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
