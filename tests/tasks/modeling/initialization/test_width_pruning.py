"""Narrower encoders: what stays is what mattered, and the result is an encoder like any other."""

import pytest
import torch
from transformers import BertConfig, BertModel, ElectraConfig, ElectraModel

from data_contracts.errors import RecipeError, SourceError
from tasks.modeling.backbones.encoder import load_backbone
from tasks.modeling.initialization.width_pruning import prune_width


def bert(seed=0):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=24, max_position_embeddings=12, type_vocab_size=1,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False).eval()


IDS = torch.tensor([[2, 7, 9, 3], [4, 5, 6, 8]])


def test_an_encoder_whose_rest_is_zero_computes_the_same_when_the_rest_is_cut():
    """Rows of one matrix matched with columns of another: a network of noise that still trains."""
    backbone = bert()
    neurons = [
        torch.tensor([3, 0, 11, 20, 7, 15, 22, 9]),
        torch.tensor([1, 2, 4, 8, 16, 5, 21, 10]),
    ]
    for layer, kept in zip(backbone.encoder.layer, neurons, strict=True):
        idle = torch.ones(24, dtype=torch.bool)
        idle[kept] = False
        with torch.no_grad():
            layer.intermediate.dense.weight[idle] *= 1e-6
            layer.output.dense.weight[:, idle] = 0
    expected = backbone(IDS).last_hidden_state
    pruned = prune_width(backbone, hidden_size=None, intermediate_size=8).eval()
    assert pruned.config.intermediate_size == 8
    torch.testing.assert_close(pruned(IDS).last_hidden_state, expected, rtol=1e-4, atol=1e-5)


def test_dimensions_and_heads_of_largest_weight_stay():
    """Dimensions by their number instead of their weight: the first half of whatever came out."""
    backbone = bert()
    strong = torch.tensor([1, 2, 5, 6, 9, 12, 13, 15])
    weak = torch.tensor([dim for dim in range(16) if dim not in strong])
    with torch.no_grad():
        backbone.embeddings.word_embeddings.weight[:, weak] *= 0.01
        for layer in backbone.encoder.layer:
            for name in ("query", "key", "value"):
                getattr(layer.attention.self, name).weight[:, weak] *= 0.01
        for head in (0, 3):  # of the second layer: heads 1 and 2 are the strong ones
            units = slice(4 * head, 4 * head + 4)
            backbone.encoder.layer[1].attention.self.value.weight[units] *= 0.01
            backbone.encoder.layer[1].attention.output.dense.weight[:, units] *= 0.01
    before = {name: weight.clone() for name, weight in backbone.state_dict().items()}
    pruned = prune_width(backbone, hidden_size=8, intermediate_size=None)
    after = pruned.state_dict()
    assert (pruned.config.hidden_size, pruned.config.num_attention_heads) == (8, 2)
    words = "embeddings.word_embeddings.weight"
    assert torch.equal(after[words], before[words][:, strong])
    value = "encoder.layer.1.attention.self.value.weight"
    assert torch.equal(after[value], before[value][4:12][:, strong])
    out = "encoder.layer.1.attention.output.dense.weight"
    assert torch.equal(after[out], before[out][strong][:, 4:12])
    norm = "encoder.layer.0.output.LayerNorm.weight"
    assert after[norm].shape == (8,)


def test_a_narrow_encoder_is_saved_and_loaded_as_any_other(tmp_path):
    """A student that trained for an hour and that nobody can load."""
    pruned = prune_width(bert(), hidden_size=8, intermediate_size=12).eval()
    pruned.save_pretrained(tmp_path)
    loaded = load_backbone(tmp_path).eval()
    torch.testing.assert_close(
        loaded(IDS).last_hidden_state, pruned(IDS).last_hidden_state, rtol=0, atol=1e-6
    )


def test_what_does_not_fit_is_refused_with_the_nearest_that_does():
    """A shape error out of the middle of a state dict."""
    with pytest.raises(RecipeError, match="heads are 4 wide") as raised:
        prune_width(bert(), hidden_size=10, intermediate_size=None)
    assert raised.value.remedy == "set it to 8"
    with pytest.raises(RecipeError, match="intermediate_size is 48, the model has 24"):
        prune_width(bert(), hidden_size=None, intermediate_size=48)
    electra = ElectraModel(
        ElectraConfig(
            vocab_size=30, embedding_size=8, hidden_size=16, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=16,
        )
    )  # fmt: skip
    with pytest.raises(SourceError, match="other layers than BERT's"):
        prune_width(electra, hidden_size=8, intermediate_size=None)
