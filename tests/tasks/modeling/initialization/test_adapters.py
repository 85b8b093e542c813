"""What training may change and what it must not; low-rank updates and how they are added in."""

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from data_contracts.errors import RecipeError
from tasks.modeling.backbones.low_rank import low_rank_shape
from tasks.modeling.config import LoraAdapters
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.modeling.initialization.adapters import choose_trainable, merge_adapters
from tasks.modeling.texts import Texts


def bert():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, type_vocab_size=1,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False)


def distilbert():
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=32, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=16
    )
    return DistilBertModel(config)


def trainable(backbone):
    return {name for name, weight in backbone.named_parameters() if weight.requires_grad}


def texts():
    return Texts(torch.randint(0, 32, (4, 7)), torch.ones(4, 7, dtype=torch.int64))


def test_each_choice_trains_what_its_name_says():
    """The last two layers that are the first two, or biases with their matrices."""
    backbone = bert()
    everything = trainable(backbone)
    choose_trainable(backbone, "all")
    assert trainable(backbone) == everything
    backbone = bert()
    choose_trainable(backbone, "head")
    assert not trainable(backbone)
    backbone = bert()
    choose_trainable(backbone, "last_layers", num_layers=2)
    top = ("encoder.layer.1.", "encoder.layer.2.")
    assert trainable(backbone) == {name for name in everything if name.startswith(top)}
    backbone = bert()
    choose_trainable(backbone, "bias")
    assert trainable(backbone) == {name for name in everything if name.endswith(".bias")}


@pytest.mark.parametrize("make", [bert, distilbert])
def test_merged_updates_answer_as_they_did_beside_their_matrices(make):
    """A merge with the wrong scale or a transposed matrix is another model than was validated."""
    model = EncoderClassifier(make(), num_labels=3, pooling="mean", dropout=0.0)
    names = set(model.state_dict())
    lora = LoraAdapters(rank=2, alpha=6.0)
    choose_trainable(model.backbone, "lora", lora=lora)
    model.eval()
    before = model(read := texts())
    for name, weight in model.backbone.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(weight, std=0.3)
    updated = model(read)
    assert not torch.allclose(before, updated, atol=1e-3)
    merge_adapters(model.backbone)
    assert torch.allclose(model(read), updated, atol=1e-5)
    assert set(model.state_dict()) == names


def test_an_update_is_alpha_over_rank_times_its_two_factors():
    """Toolkits differ in the scale: a rank doubled must not double the learning rate."""
    backbone = bert()
    original = backbone.encoder.layer[0].attention.self.query.weight.clone()
    choose_trainable(backbone, "lora", lora=LoraAdapters(rank=4, alpha=10.0))
    layer = backbone.encoder.layer[0].attention.self.query
    down, up = layer.lora_A["decant"].weight, layer.lora_B["decant"].weight
    assert torch.equal(up, torch.zeros_like(up)), "training starts from the pretrained model"
    torch.nn.init.normal_(up)
    expected = original + 2.5 * up @ down
    merge_adapters(backbone)
    merged = backbone.encoder.layer[0].attention.self.query.weight
    torch.testing.assert_close(merged, expected)


def test_only_the_updates_are_trained_and_every_linear_layer_has_one():
    """A frozen encoder without updates in the feed-forward layers learns less than it should."""
    backbone = bert()
    choose_trainable(backbone, "lora")
    assert all(".lora_" in name for name in trainable(backbone))
    assert len(trainable(backbone)) == 3 * 6 * 2
    chosen = bert()
    choose_trainable(chosen, "lora", lora=LoraAdapters(target_modules=("query", "value")))
    assert len(trainable(chosen)) == 3 * 2 * 2


def test_factors_of_a_product_go_by_the_name_of_their_matrix():
    """`query` refused in a student of products, whose layers are all called down and up."""
    backbone = low_rank_shape(bert(), 0.5)
    names = set(backbone.state_dict())
    choose_trainable(backbone, "lora", lora=LoraAdapters(target_modules=("query", "value")))
    assert len(trainable(backbone)) == 3 * 2 * 2 * 2
    assert all(".self.query." in name or ".self.value." in name for name in trainable(backbone))
    merge_adapters(backbone)
    assert set(backbone.state_dict()) == names


def test_what_an_encoder_does_not_have_is_a_mistake_with_a_remedy():
    """A misspelt layer that matches nothing trains the head alone, in silence."""
    with pytest.raises(RecipeError, match=r"q_proj, which the encoder does not have"):
        choose_trainable(bert(), "lora", lora=LoraAdapters(target_modules=("q_proj",)))
    with pytest.raises(RecipeError, match="is 4, the encoder has 3 layers"):
        choose_trainable(bert(), "last_layers", num_layers=4)
