"""Matrices as products: the nearest there is for real texts, as large as asked for, and saved."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModel, BertConfig, BertModel, DistilBertConfig, DistilBertModel

from data_contracts.errors import SourceError
from tasks.modeling.backbones.encoder import load_backbone, save_backbone
from tasks.modeling.backbones.low_rank import LowRankLinear, factorize, low_rank_shape, rank_of
from tests.tasks.delivery import check_delivery

WIDTH = {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 48}
LAYER = "encoder.layer.{}."
TALL, WIDE = "intermediate.dense", "output.dense"


def bert(seed=0):
    torch.manual_seed(seed)
    config = BertConfig(
        **WIDTH, vocab_size=40, num_hidden_layers=2, max_position_embeddings=12, type_vocab_size=1
    )
    network = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for weight in network.parameters():  # biases that are all zero would hide their loss
            weight.add_(0.1 * torch.randn_like(weight))
    return network


def texts(seed=1, count=24):
    ids = torch.from_numpy(np.random.default_rng(seed).integers(5, 40, (count, 9)))
    mask = torch.ones_like(ids)
    mask[::2, 6:] = 0
    return ids, mask


def inputs_of(network, name, batch):
    """What the module `name` is multiplied by for the real tokens of `batch`: float64, (T, N)."""
    seen = []
    module = network.get_submodule(name)
    hook = module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    ids, mask = batch
    with torch.no_grad():
        network(input_ids=ids, attention_mask=mask)
    hook.remove()
    return seen[0][mask.bool()].double().numpy()


@pytest.mark.parametrize("name", [TALL, WIDE, "attention.self.query"])
def test_no_product_of_that_rank_is_closer_on_the_texts_it_was_made_for(name):
    """Directions of the weights alone, of padding, or in the wrong order: a start thrown away."""
    network, batch = bert(), texts()
    name = LAYER.format(0) + name
    read = inputs_of(network, name, batch)
    weight = network.get_submodule(name).weight.detach().double().numpy()
    factorize(network, 0.5, [batch])
    product = network.get_submodule(name)
    rank = product.down.out_features
    found = (product.up.weight @ product.down.weight).detach().double().numpy()
    error = np.square(read @ (weight - found).T).sum()
    # Eckart and Young: what the singular values that are left out add up to.
    singular = np.linalg.svd(read @ weight.T, compute_uv=False)
    assert error == pytest.approx(np.square(singular[rank:]).sum(), rel=1e-4)
    assert 1 < rank < min(weight.shape)


def test_padding_is_no_text():
    """Directions of a token that nobody reads, of which there may be more than of all others."""
    ids, mask = texts()
    filled = torch.where(mask.bool(), ids, 1)
    wider = torch.cat([filled, torch.ones(len(ids), 3, dtype=torch.long)], dim=1)
    longer = torch.cat([mask, torch.zeros(len(ids), 3, dtype=torch.long)], dim=1)
    one = factorize(bert(), 0.5, [(filled, mask)]).state_dict()
    other = factorize(bert(), 0.5, [(wider, longer)]).state_dict()
    name = LAYER.format(1) + WIDE
    products = [made[f"{name}.up.weight"] @ made[f"{name}.down.weight"] for made in (one, other)]
    torch.testing.assert_close(*products, rtol=1e-4, atol=1e-5)


def test_an_encoder_whose_matrices_have_that_rank_already_computes_the_same():
    """Biases dropped, factors swapped, or a matrix passed over: another network from the start."""
    network, batch = bert(), texts()
    with torch.no_grad():
        for name, module in network.encoder.named_modules():
            if isinstance(module, nn.Linear):
                rank = rank_of(*module.weight.shape, 0.5)
                left, values, right = torch.linalg.svd(module.weight, full_matrices=False)
                module.weight.copy_((left[:, :rank] * values[:rank]) @ right[:rank])
                assert rank < min(module.weight.shape), name
        ids, mask = batch
        expected = network(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
        factorize(network, 0.5, [batch])
        found = network(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(one, nn.Linear) for one in network.encoder.layer[0].children())


@pytest.mark.parametrize(
    ("rows", "columns", "share", "rank"),
    [
        (384, 384, 0.3333, 64),  # a third of 147,456 weights, 768 a rank
        (1536, 384, 0.3333, 96),  # 102.4 ranks of 1,920 weights
        (384, 1536, 0.5, 144),  # 153.6
        (384, 384, 0.9, 160),  # 172.8
        (16, 16, 0.5, 4),
        (16, 16, 0.01, 1),
    ],
)
def test_factors_have_their_share_of_the_weights(rows, columns, share, rank):
    """A student of a third of its teacher that has a half of it."""
    assert rank_of(rows, columns, share) == rank


def test_texts_in_several_passes_give_what_they_give_in_one():
    """The last pass alone, whatever texts happen to be in it."""
    ids, mask = texts()
    one = factorize(bert(), 0.5, [(ids, mask)]).state_dict()
    other = factorize(bert(), 0.5, [(ids[:7], mask[:7]), (ids[7:], mask[7:])]).state_dict()
    name = LAYER.format(0) + TALL
    products = [made[f"{name}.up.weight"] @ made[f"{name}.down.weight"] for made in (one, other)]
    torch.testing.assert_close(*products, rtol=1e-4, atol=1e-5)


def test_it_packs_saves_loads_and_exports(tmp_path):
    """A third of the weights, and no way to deliver them."""
    check_delivery(factorize(bert(), 0.5, [texts()]), tmp_path)


def test_who_builds_the_plain_network_finds_no_weights(tmp_path):
    """Matrices drawn at random in the place of products, and a warning that scrolls by."""
    save_backbone(factorize(bert(), 0.5, [texts()]), tmp_path)
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModel.from_pretrained(tmp_path)
    torch.manual_seed(5)
    expected_next = torch.rand(1)
    torch.manual_seed(5)
    assert isinstance(load_backbone(tmp_path).encoder.layer[1].output.dense, LowRankLinear)
    assert torch.equal(torch.rand(1), expected_next)  # loading takes no number from a seeded run


def test_encoders_of_other_families_are_factorized_too():
    """BERT's names for its matrices, and every other encoder left whole without a word."""
    torch.manual_seed(0)
    config = DistilBertConfig(
        dim=16, n_heads=4, hidden_dim=32, n_layers=2, vocab_size=40, max_position_embeddings=12
    )
    network = DistilBertModel(config)
    before = sum(weight.numel() for weight in network.transformer.parameters())
    factorize(network, 0.5, [texts()])
    assert sum(weight.numel() for weight in network.transformer.parameters()) < 0.6 * before


def test_directions_that_the_texts_do_not_show_are_those_of_the_weights():
    """Ranks spent on what rounding leaves, where texts are fewer than ranks."""
    network = bert()
    ids, mask = texts(count=1)
    name = LAYER.format(0) + "attention.self.query"
    weight = network.get_submodule(name).weight.detach().double()
    read = torch.from_numpy(inputs_of(network, name, (ids[:, :2], mask[:, :2])))  # two tokens
    factorize(network, 0.9, [(ids[:, :2], mask[:, :2])])  # seven ranks
    product = network.get_submodule(name)
    # What two tokens leave open is a matrix on the other directions of the outputs: of those that
    # five ranks can keep, no others keep more of the weights.
    shown = torch.linalg.qr((read @ weight.T).T).Q
    rest = weight - shown @ (shown.T @ weight)
    found = (product.up.weight @ product.down.weight).detach().double()
    error = (weight - found).square().sum()
    singular = torch.linalg.svdvals(rest)
    assert error == pytest.approx(singular[5:].square().sum().item(), rel=1e-2)


def test_matrices_that_read_other_things_than_tokens_are_refused():
    """An IndexError out of a hook, or a matrix fitted to the wrong rows."""
    network = bert()
    attention = network.encoder.layer[1].attention.output
    attention.register_forward_pre_hook(lambda _, given: (given[0][:, :1], given[1][:, :1]))
    with pytest.raises(SourceError, match="bert"):
        factorize(network, 0.5, [texts()])


def test_layers_without_linear_modules_are_refused():
    """A student said to be half as large that is as large as before."""
    network = bert()
    for layer in network.encoder.layer:
        for name, _ in list(layer.named_children()):
            setattr(layer, name, nn.LayerNorm(16))
    with pytest.raises(SourceError, match="linear"):
        low_rank_shape(network, 0.5)
