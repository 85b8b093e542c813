import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from mlflow.exceptions import MlflowException
from tokenizers import Tokenizer

from tasks.corpus.tokenizers.encoding import Encoder
from tasks.problems import load_model
from tasks.serving.portable.text_classifier import TextClassifier

TEXTS = ["打开客厅的灯", "书房现在几度", "在车库播放音乐", "把走廊的亮度调到百分之五十"]


@pytest.fixture(scope="module")
def model(downloaded):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        return mlflow.pyfunc.load_model(str(downloaded))


@pytest.fixture(scope="module")
def expected(downloaded):
    """Labels and scores of TEXTS from the network itself, one text at a time, unpadded."""
    folder = downloaded / "artifacts" / "bundle" / "model"
    network = load_model(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))["labels"]
    rows = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            probabilities = network(ids, torch.ones_like(ids)).double().softmax(-1)[0]
        best = int(probabilities.argmax())
        rows.append({"label": labels[best], "score": float(probabilities[best])})
    return rows


def test_answers_are_those_of_the_network(model, expected):
    """A served model that tokenizes or pools differently is another model."""
    found = model.predict(pd.DataFrame({"text": TEXTS}))
    assert found["label"].tolist() == [row["label"] for row in expected]
    assert np.allclose(found["score"], [row["score"] for row in expected], atol=1e-5)


def test_int8_answers_alike(model, expected):
    """The small variant is offered as the same model."""
    found = model.predict(pd.DataFrame({"text": TEXTS}), params={"variant": "onnx_int8"})
    assert found["label"].tolist() == [row["label"] for row in expected]
    assert np.allclose(found["score"], [row["score"] for row in expected], atol=0.05)


@pytest.mark.parametrize("variant", ["safetensors", "onnx_int8"])
def test_order_and_index_survive_batching(model, variant):
    """Answers sorted by length given back in that order label the wrong texts."""
    texts = [TEXTS[row % 4] for row in range(23)]
    index = [f"row {row}" for row in range(23)]
    table = pd.DataFrame({"text": texts, "other": range(23)}, index=index)
    alone = model.predict(pd.DataFrame({"text": TEXTS}), params={"variant": variant})
    found = model.predict(table, params={"variant": variant, "batch_size": 5})
    assert found.index.tolist() == index
    assert found["label"].tolist() == [alone["label"][row % 4] for row in range(23)]


def test_top_k_lists_labels_best_first(model):
    """Alternatives in another order than their scores mislead whoever reads them."""
    found = model.predict(pd.DataFrame({"text": TEXTS[:1]}), params={"top_k": 5}).iloc[0]
    assert found["labels"][0] == found["label"]
    assert sorted(found["scores"], reverse=True) == found["scores"]
    assert sum(found["scores"]) == pytest.approx(1, abs=1e-5)
    assert len(set(found["labels"])) == 5


def test_records_and_series_are_accepted(model):
    """Whoever has JSON records should not need pandas."""
    table = model.predict(pd.DataFrame({"text": TEXTS}))
    records = [{"text": text} for text in TEXTS]
    assert model.predict(records)["label"].tolist() == table["label"].tolist()
    series = pd.Series(TEXTS, name="text")
    assert model.predict(series)["label"].tolist() == table["label"].tolist()


def test_over_long_texts_are_cut_as_in_training(model):
    """A model with 16 positions asked for 5,000 is an index error in the middle of the night."""
    found = model.predict(pd.DataFrame({"text": ["打开客厅的灯" * 1000]}))
    cut = model.predict(pd.DataFrame({"text": ["打开客厅的灯打开客厅的灯打开"]}))
    assert found["score"][0] == pytest.approx(cut["score"][0], abs=1e-5)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pd.DataFrame({"texts": ["打开"]}), "text"),
        (pd.DataFrame({"text": ["打开", None, "关闭"]}), "1 of 3 rows hold no text.*rows 1"),
        (pd.DataFrame({"text": ["打开", " \u200b "]}), "1 of 2 rows hold an empty text: rows 1"),
        (pd.DataFrame({"text": ["打开", "灯\ud83d"]}, dtype=object), "half of a surrogate.*rows 1"),
    ],
)
def test_bad_rows_are_named(model, table, said):
    """`TypeError: argument 'inputs'` from Rust tells nobody which row is empty."""
    with pytest.raises(MlflowException, match=re.compile(said, re.DOTALL)):
        model.predict(table)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"variant": "pickle"}, "give one of onnx_int8, safetensors"),
        ({"top_k": 0}, "top_k is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
    ],
)
def test_bad_parameters_are_told(model, params, said):
    """A misspelt variant answered by another one is measured as if it were itself."""
    with pytest.raises(MlflowException, match=said):
        model.predict(pd.DataFrame({"text": TEXTS}), params=params)


def test_no_rows_are_no_answers(model):
    """An empty batch of a nightly job is no error."""
    empty = model.predict(pd.DataFrame({"text": pd.Series([], dtype=object)}))
    assert list(empty.columns) == ["label", "score"]
    assert len(empty) == 0


def test_a_file_damaged_after_registration_is_not_loaded(copy):
    """A flipped bit in a weight answers wrongly and says nothing."""
    path = copy / "artifacts" / "bundle" / "model" / "model.int8.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    loaded = mlflow.pyfunc.load_model(str(copy))
    with pytest.raises(MlflowException, match="does not match its digest"):
        loaded.predict(pd.DataFrame({"text": TEXTS}), params={"variant": "onnx_int8"})


def test_texts_are_tokenised_as_the_training_corpus(downloaded):
    """Other ids than in training, the same text: another question."""
    classifier = TextClassifier()
    bundle = downloaded / "artifacts" / "bundle"
    context = type("Context", (), {"artifacts": {"bundle": str(bundle)}})()
    classifier.load_context(context)
    tokenizer = Tokenizer.from_file(str(bundle / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    encoder = Encoder(tokenizer, max_length_tokens=16, unknown_id=1, workers=1)
    texts = [*TEXTS, "灯", "打开客厅的灯" * 9, "unknown words 未知"]
    expected = encoder.encode(pa.chunked_array([texts])).input_ids.to_pylist()
    assert classifier.tokenize(texts) == expected


CONSUMER = """
import json, sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model("models:/served@champion")
table = pd.DataFrame({"text": json.loads(sys.argv[1])})
answers = {}
for variant in ("onnx_int8", "safetensors"):
    answers[variant] = model.predict(table, params={"variant": variant}).to_dict("records")
    answers[variant + " needs torch"] = "torch" in sys.modules
ours = [name for name in sys.modules if name.split(".")[0] in ("tasks", "flows", "data_contracts")]
assert not ours, ours
print(json.dumps(answers))
"""


def consumer_environment(registry_folder, home):
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(home),
        "MLFLOW_TRACKING_URI": f"sqlite:///{registry_folder / 'mlflow.db'}",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


@pytest.mark.slow
def test_it_loads_without_this_repository(registered, registry_folder, tmp_path, expected):
    """A model that imports its maker's code loads on the maker's machine only."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", CONSUMER, json.dumps(TEXTS)],
        env=consumer_environment(registry_folder, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers["onnx_int8 needs torch"] is False
    for variant, tolerance in (("safetensors", 1e-5), ("onnx_int8", 0.05)):
        for found, row in zip(answers[variant], expected, strict=True):
            assert found["label"] == row["label"]
            assert found["score"] == pytest.approx(row["score"], abs=tolerance)


@pytest.mark.slow
def test_it_answers_over_http(registered, registry_folder, tmp_path, expected):
    """The registry's own server is how most teams will ask."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "server.log"
    command = ["mlflow", "models", "serve", "-m", "models:/served@champion", "--env-manager"]
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            env=consumer_environment(registry_folder, tmp_path),
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/ping", server, log)
        for variant, tolerance in (("onnx_int8", 0.05), ("safetensors", 1e-5)):
            body = {
                "dataframe_split": {"columns": ["text"], "data": [[text] for text in TEXTS]},
                "params": {"variant": variant, "top_k": 2},
            }
            answers = ask(port, body)["predictions"]
            for found, row in zip(answers, expected, strict=True):
                assert found["label"] == found["labels"][0] == row["label"]
                assert found["score"] == pytest.approx(row["score"], abs=tolerance)
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(port, {"dataframe_split": {"columns": ["text"], "data": [[""]]}})
        assert refused.value.code == 400
        assert "an empty text" in refused.value.read().decode()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(timeout=20)


def wait_until_up(address, server, log):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the server did not come up:\n{log.read_text()}")


def ask(port, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        data=json.dumps(body, ensure_ascii=False).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
