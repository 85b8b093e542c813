"""The network of every classifier: what is saved is what was trained, and padding never shows."""

import json

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel

from data_contracts.errors import SourceError
from tasks.modeling.heads.classifier import EncoderClassifier, EncoderEmbedder, save_classifier
from tasks.modeling.heads.pooling import mean_pool
from tasks.problems import load_model


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=20, type_vocab_size=1,
    )  # fmt: skip
    backbone = BertModel(config, add_pooling_layer=False)
    return EncoderClassifier(backbone, num_labels=4, pooling="mean", dropout=0.1).eval()


def test_a_saved_model_answers_as_before(model, tmp_path):
    """A weight left out of the folder comes back random, and nobody is told."""
    ids = torch.randint(0, 50, (3, 9))
    mask = torch.ones_like(ids)
    save_classifier(model, tmp_path, problem="text_classification")
    loaded = load_model(tmp_path)
    assert not loaded.training
    torch.testing.assert_close(loaded(ids, mask), model(ids, mask), rtol=0, atol=0)


def test_the_folder_is_readable_without_this_project(model, tmp_path):
    """Consumers read the encoder with plain transformers."""
    save_classifier(model, tmp_path, problem="text_classification")
    encoder = AutoModel.from_pretrained(tmp_path, use_safetensors=True)
    ids = torch.randint(0, 50, (2, 5))
    expected = model.backbone(input_ids=ids).last_hidden_state
    torch.testing.assert_close(encoder(input_ids=ids).last_hidden_state, expected)


def test_a_saved_head_names_the_problem_it_was_trained_for(model, tmp_path):
    """A regressor saved as a classifier because nobody said what it was."""
    with pytest.raises(TypeError, match="problem"):
        save_classifier(model, tmp_path)
    save_classifier(model, tmp_path, problem="another")
    assert json.loads((tmp_path / "head.json").read_text())["problem"] == "another"


def test_logits_do_not_depend_on_padding(model):
    """A student whose answer changes with the batch around a text cannot be evaluated."""
    ids = torch.randint(5, 50, (1, 6))
    alone = model(ids, torch.ones_like(ids))
    padded = torch.cat([ids, torch.full((1, 7), 3)], 1)
    mask = torch.cat([torch.ones_like(ids), torch.zeros(1, 7, dtype=torch.long)], 1)
    torch.testing.assert_close(model(padded, mask), alone, rtol=1e-5, atol=1e-6)


def test_mean_pooling_divides_by_the_real_tokens():
    hidden = torch.tensor([[[2.0, 4.0], [4.0, 8.0], [100.0, 100.0]]])
    assert mean_pool(hidden, torch.tensor([[1, 1, 0]])).tolist() == [[3.0, 6.0]]


def test_a_folder_with_pickled_weights_only_is_refused(model, tmp_path):
    """pytorch_model.bin is a pickle: loading it can run code."""
    save_classifier(model, tmp_path, problem="text_classification")
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "head.safetensors").rename(tmp_path / "kept")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(SourceError, match="no model that answers"):
        load_model(tmp_path)
    (tmp_path / "kept").rename(tmp_path / "head.bin")


@torch.no_grad()
def test_an_embedding_is_the_pooled_text_at_unit_length(model, tmp_path):
    """A teacher whose own vectors are not what its student learns."""
    embedder = EncoderEmbedder(model.backbone, num_labels=16, pooling="mean", dropout=0.1).eval()
    embedder.keep_pooled()
    ids = torch.randint(5, 50, (2, 6))
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
    found = embedder(ids, mask).double()
    for row, kept in ((0, 6), (1, 4)):
        states = model.backbone(input_ids=ids[row : row + 1, :kept]).last_hidden_state[0].double()
        mean = states.mean(0)
        torch.testing.assert_close(found[row], mean / mean.norm(), rtol=1e-5, atol=1e-6)
    save_classifier(embedder, tmp_path, problem="sentence_embedding")
    again = load_model(tmp_path)
    torch.testing.assert_close(again(ids, mask), embedder(ids, mask), rtol=0, atol=0)
