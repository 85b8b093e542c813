"""Layers are found in encoders that keep them in one list, and in no others."""

import pytest
from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel

from data_contracts.errors import SourceError
from tasks.modeling.backbones.layer_stack import layer_stack

WIDTH = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 20}


def test_the_list_is_found_with_its_place():
    """Another list of as many modules, cut in the place of the layers."""
    network = BertModel(BertConfig(**WIDTH, num_hidden_layers=3))
    parent, name, layers = layer_stack(network)
    assert (parent, name) == (network.encoder, "layer")
    assert layers is network.encoder.layer


def test_an_encoder_without_a_list_of_layers_is_refused_by_its_name():
    """ALBERT has one layer used many times: a copy of `some` would be a copy of all."""
    network = AlbertModel(AlbertConfig(**WIDTH, embedding_size=8, num_hidden_layers=4))
    with pytest.raises(SourceError, match="albert"):
        layer_stack(network)
