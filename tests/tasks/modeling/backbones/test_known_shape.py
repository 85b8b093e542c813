"""The shape of a pretrained encoder is that of the network that transformers builds from it."""

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    XLMRobertaConfig,
)

from tasks.modeling.backbones.known_shape import KnownShape, known_shape

SMALL = {"vocab_size": 10, "max_position_embeddings": 8}
CONFIGS = {
    "bert": BertConfig(
        num_hidden_layers=3, hidden_size=24, num_attention_heads=2, intermediate_size=8, **SMALL
    ),
    "distilbert": DistilBertConfig(n_layers=5, dim=16, n_heads=2, hidden_dim=8, **SMALL),
    "electra": ElectraConfig(
        num_hidden_layers=2, hidden_size=40, num_attention_heads=2, intermediate_size=8, **SMALL
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_layers_and_width_are_those_of_the_network(tmp_path, kind):
    """A teacher refused for layers that it has, because its family calls them otherwise."""
    CONFIGS[kind].save_pretrained(tmp_path)
    network = AutoModel.from_config(CONFIGS[kind])
    built = network.config
    layers = {
        name.partition(".layer.")[2].partition(".")[0]
        for name, _ in network.named_parameters()
        if ".layer." in name
    }
    found = known_shape(str(tmp_path))
    assert found == KnownShape(len(layers), built.hidden_size, 8)
    assert known_shape(f"file://{tmp_path}") == found


WIDTHS = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.mark.parametrize(
    "config",
    [
        CONFIGS["bert"],
        CONFIGS["distilbert"],
        CONFIGS["electra"],
        AlbertConfig(embedding_size=16, num_hidden_layers=1, **WIDTHS, **SMALL),
        MPNetConfig(num_hidden_layers=1, **WIDTHS, **SMALL),
        XLMRobertaConfig(num_hidden_layers=1, **WIDTHS, **SMALL),
    ],
    ids=lambda config: config.model_type,
)
def test_positions_are_the_longest_text_that_the_network_reads(tmp_path, config):
    """Two tokens too many for a RoBERTa, whose first two positions nobody reads."""
    config.save_pretrained(tmp_path)
    network = AutoModel.from_config(config).eval()
    longest = known_shape(str(tmp_path)).num_positions
    network(input_ids=torch.full((1, longest), 5))
    with pytest.raises((IndexError, RuntimeError)):
        network(input_ids=torch.full((1, longest + 1), 5))


def test_relative_positions_have_no_end(tmp_path):
    """A DeBERTa reads longer texts than the number in its configuration, and would be refused."""
    DebertaV2Config(num_hidden_layers=1, **WIDTHS, **SMALL).save_pretrained(tmp_path)
    assert known_shape(str(tmp_path)).num_positions is None


def test_a_model_of_the_hub_is_known_from_its_cache_alone(tmp_path, monkeypatch):
    """Gigabytes fetched by a command that promises to run nothing."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    revision = "0123456789abcdef0123456789abcdef01234567"
    uri = f"hf://org/name@{revision}"
    assert known_shape(uri) is None
    CONFIGS["bert"].save_pretrained(tmp_path / "models--org--name" / "snapshots" / revision)
    assert known_shape(uri) == KnownShape(3, 24, 8)
    assert known_shape("hf://org/name@main") is None
    assert known_shape(f"hf://org/na me@{revision}") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"num_hidden_layers": "three"}', None])
def test_what_tells_no_shape_is_left_to_whoever_loads_it(tmp_path, text):
    """A traceback of ours for a file of theirs, where a sentence would come later."""
    if text is not None:
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
    assert known_shape(str(tmp_path)) in (None, KnownShape(None, None))
    assert known_shape("pkg://no_such_package/model") is None
    assert known_shape("s3://bucket/model") is None
    assert known_shape("https://host/model") is None
