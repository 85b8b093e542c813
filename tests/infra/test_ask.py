"""Asking a registered model, whatever it reads, through `mlflow models serve`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

ASK = Path(__file__).parents[2] / "infra" / "ask.py"
SHIPPED = """
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Longest(PythonModel):
    def predict(self, context, model_input, params=None):
        both = zip(model_input["text"], model_input["text_b"])
        said = [max(a, b, key=len)[: int((params or {}).get("limit", 99))] for a, b in both]
        return pd.DataFrame({"longest": said})


set_model(Longest())
"""


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """Environment of a tracker with a model of two texts and a parameter, its champion."""
    folder = tmp_path_factory.mktemp("asked")
    script = folder / "longest.py"
    script.write_text(SHIPPED)
    tracking = f"sqlite:///{folder / 'mlflow.db'}"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking)
    mlflow.create_experiment("asked", artifact_location=(folder / "runs").as_uri())
    mlflow.set_experiment("asked")
    texts = [ColSpec("string", "text"), ColSpec("string", "text_b")]
    params = ParamSchema([ParamSpec("limit", "long", 99)])
    try:
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(script),
            signature=ModelSignature(Schema(texts), Schema([ColSpec("string", "longest")]), params),
            input_example=pd.DataFrame([{"text": "灯", "text_b": "it's a lamp"}]),
            pip_requirements=["pandas"],
            registered_model_name="longest",
        )
        mlflow.MlflowClient().set_registered_model_alias("longest", "champion", "1")
    finally:
        mlflow.set_tracking_uri(before)
    return {**os.environ, "MLFLOW_TRACKING_URI": tracking}


def ask(tracked, *arguments):
    command = [sys.executable, "-W", "ignore", str(ASK), "--model", "longest", *arguments]
    return subprocess.run(command, env=tracked, capture_output=True, text=True, timeout=110)


def test_the_printed_request_and_answer_are_those_of_a_server(tracked):
    """A documented request that no server would take, or an answer that none has given."""
    found = ask(tracked, "--serve", "--param", "limit=6")
    assert found.returncode == 0, found.stderr
    sent = re.search(r"-d '(.+)'\n# (.+)", found.stdout)
    assert json.loads(sent[1].replace("'\\''", "'")) == {
        "dataframe_records": [{"text": "灯", "text_b": "it's a lamp"}], "params": {"limit": 6},
    }  # fmt: skip
    assert json.loads(sent[2]) == {"predictions": [{"longest": "it's a"}]}


def test_texts_are_taken_in_turn(tracked):
    """A question asked as its own context."""
    found = ask(tracked, "一", "二二", "三三", "四")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [
        '一 | 二二 → {"longest": "二二"}', '三三 | 四 → {"longest": "三三"}',
    ]  # fmt: skip
    odd = ask(tracked, "一", "二二", "三三")
    assert odd.returncode == 2
    assert "this model reads 2 texts at once: text, text_b" in odd.stderr
