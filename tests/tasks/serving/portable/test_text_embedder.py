"""Sentence vectors as their consumer gets them."""

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from tokenizers import Tokenizer

from tasks.problems import load_model

TEXTS = ["打开客厅的灯", "关闭卧室的灯", "厨房现在几度"]


def test_vectors_are_the_networks(embedder):
    """A vector that is not normalised, or of another pooling, finds other texts."""
    folder = embedder.export / "model"
    model, tokenizer = load_model(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = embedder.ask([{"text": text} for text in TEXTS])
    assert found.columns.tolist() == ["embedding"]
    vectors = np.stack(found["embedding"])
    assert vectors.shape == (3, 16)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            expected = model(ids, torch.ones_like(ids))[0].double().numpy()
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_the_int8_form_points_the_same_way(embedder):
    """Rounded weights whose vectors are no longer of unit length, or far off."""
    rows = [{"text": text} for text in TEXTS]
    exact, rounded = (
        np.stack(embedder.ask(rows, variant=variant)["embedding"])
        for variant in ("safetensors", "onnx_int8")
    )
    assert np.linalg.norm(rounded, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert ((exact * rounded).sum(1) > 0.98).all()


def test_vectors_are_served_over_http(embedder):
    """A signature that says string for a list of numbers answers 500."""
    status, body = embedder.ask_server([{"text": text} for text in TEXTS])
    assert status == 200
    assert [len(row["embedding"]) for row in body["predictions"]] == [16, 16, 16]
    outputs = mlflow.models.get_model_info(str(embedder.folder)).signature.outputs
    assert outputs.to_dict() == [
        {
            "name": "embedding",
            "required": True,
            "type": "array",
            "items": {"type": "double"},
        }
    ]


def test_a_row_without_text_is_named(embedder):
    """The vector of nothing lies near everything."""
    with pytest.raises(MlflowException, match=r"1 of 2 rows hold an empty text.*rows 1"):
        embedder.ask(pd.DataFrame({"text": ["打开", "  "]}))
