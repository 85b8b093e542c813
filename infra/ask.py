"""Ask a registered champion as any consumer does: with MLflow and its name, nothing of ours.

    python infra/ask.py [--model out-of-domain-en-zh] [TEXT ...]
    python infra/ask.py --serve [--model NAME] [--param top_k=3] [TEXT ...]

A model that reads several texts at once (question and context, text and text_b) takes them in turn,
in the order of its signature. Without texts it is asked about the example that it was registered
with. `--serve` starts `mlflow models serve` on a free port, sends the request that curl would send,
prints both in Markdown and stops the server again. `--when-told` waits for a line on standard input
with MLflow already imported, and asks nothing if the input ends without one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model

_START_SECONDS = 120
_ANSWER_SECONDS = 120


def main() -> None:
    """Ask, and print what was answered."""
    parser = argparse.ArgumentParser(description="Ask the champion of a registered model.")
    parser.add_argument("--model", default="out-of-domain-en-zh", help="registered name")
    parser.add_argument("--serve", action="store_true", help="ask `mlflow models serve`")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="such as top_k=3"
    )
    parser.add_argument("--when-told", action="store_true", help="after a line on standard input")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="default: the model's example")
    asked = parser.parse_args()
    if asked.when_told and not _is_told():
        return
    home = Path(os.environ.get("DECANT_HOME") or ".decant").absolute()
    tracking = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"
    mlflow.set_tracking_uri(tracking)
    uri = f"models:/{asked.model}@champion"
    try:
        about = Model.load(uri)
    except MlflowException as error:
        parser.error(f"{uri} cannot be read: {error.message}")
    schema = about.get_input_schema()
    if schema is None:
        parser.error(f"{asked.model} was registered without a signature: what it reads is unknown")
    columns = schema.input_names()
    if len(asked.texts) % len(columns):
        parser.error(f"this model reads {len(columns)} texts at once: {', '.join(columns)}")
    texts = [
        dict(zip(columns, asked.texts[start : start + len(columns)], strict=True))
        for start in range(0, len(asked.texts), len(columns))
    ]
    rows = texts or example_of(about, uri)
    params = dict(_param(parser, text) for text in asked.param)
    if asked.serve:
        request: dict[str, Any] = {"dataframe_records": rows}
        if params:
            request["params"] = params
        print(as_markdown(request, ask_server(uri, request, tracking=tracking)))
        return
    model = mlflow.pyfunc.load_model(uri)
    answers = model.predict(pd.DataFrame(rows, columns=columns), params=params or None)
    for row, answer in zip(rows, answers.to_dict("records"), strict=True):
        print(f"{' | '.join(row.values())} → {in_words(answer)}")


def example_of(about: Model, uri: str) -> list[dict[str, str]]:
    """The rows that a model was registered with."""
    example = about.load_input_example(mlflow.artifacts.download_artifacts(uri))
    return pd.DataFrame(example).to_dict("records")  # pyright: ignore[reportReturnType]


def in_words(answer: dict[str, Any]) -> str:
    """A class with its score in a line; anything else as JSON."""
    if "label" in answer:
        return f"{answer['label']} ({answer['score']:.0%})"
    return json.dumps(answer, ensure_ascii=False, default=float)


def ask_server(uri: str, request: dict[str, Any], *, tracking: str) -> str:
    """The body of a served model's answer; the server runs for this one request.

    Raises: SystemExit saying what the server wrote, if it does not start or refuses the request.
    """
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri]
    command += ["--env-manager", "local", "-p", str(port)]
    # It starts uvicorn by name: this environment need not be activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            command,
            env={**os.environ, "MLFLOW_TRACKING_URI": tracking, "PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it starts workers: all are stopped together
        )
        try:
            _wait_for(server, port, log)
            post = urllib.request.Request(
                f"http://127.0.0.1:{port}/invocations",
                data=json.dumps(request, ensure_ascii=False).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(post, timeout=_ANSWER_SECONDS) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"HTTP {error.code}: {error.read().decode()}") from None
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def as_markdown(request: dict[str, Any], answer: str) -> str:
    """Request and answer as they would stand in a document."""
    sent = json.dumps(request, ensure_ascii=False).replace("'", "'\\''")
    told = json.dumps(json.loads(answer), ensure_ascii=False)
    return (
        "```bash\n"
        "curl -s localhost:5001/invocations -H 'Content-Type: application/json' \\\n"
        f"  -d '{sent}'\n"
        f"# {told}\n"
        "```"
    )


def _wait_for(server: subprocess.Popen[bytes], port: int, log: IO[str]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            log.seek(0)
            raise SystemExit(f"the server did not start:\n{log.read()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"the server did not start within {_START_SECONDS} seconds")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _is_told() -> bool:
    """Whether a line comes on standard input; what asking will import is imported before."""

    return bool(sys.stdin.readline())


def _param(parser: argparse.ArgumentParser, text: str) -> tuple[str, Any]:
    name, is_given, value = text.partition("=")
    if not is_given:
        parser.error(f"--param {text}: NAME=VALUE is wanted")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


if __name__ == "__main__":
    main()
