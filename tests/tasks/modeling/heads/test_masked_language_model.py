"""The head that tells hidden words: tied to the embeddings, over the tokens that occur."""

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel, RobertaConfig, RobertaForMaskedLM

from tasks.modeling.backbones.encoder import load_backbone
from tasks.modeling.heads.masked_language_model import MaskedLanguageModel, load_head
from tasks.modeling.texts import Texts

SHAPE = {
    "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 20, "type_vocab_size": 1,
}  # fmt: skip
CANDIDATES = torch.tensor([5, 9, 11, 30])


def texts():
    ids = torch.randint(5, 32, (3, 7), generator=torch.Generator().manual_seed(0))
    return Texts(ids, torch.ones_like(ids), read_out_U=torch.tensor([1, 8, 9, 20]))


@pytest.mark.parametrize(
    ("make", "config"), [(BertForMaskedLM, BertConfig), (RobertaForMaskedLM, RobertaConfig)]
)
def test_a_pretrained_head_gives_the_logits_it_was_pretrained_with(tmp_path, make, config):
    """A head of other weights, or another activation, starts adaptation from nothing."""
    torch.manual_seed(0)
    whole = make(config(**SHAPE)).eval()
    for weight in whole.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    head = whole.lm_head if hasattr(whole, "lm_head") else whole.cls.predictions
    head.bias.data.zero_()
    whole.save_pretrained(tmp_path)
    model = MaskedLanguageModel(load_backbone(tmp_path), CANDIDATES).eval()
    assert load_head(model, tmp_path)
    rows = model(read := texts())
    found = rows[:4] @ rows[4:].T
    expected = whole(read.input_ids, read.attention_mask_BL).logits.flatten(0, 1)
    torch.testing.assert_close(
        found, expected[read.read_out_U][:, CANDIDATES], rtol=1e-4, atol=1e-4
    )


def test_an_encoder_without_a_head_says_so(tmp_path):
    BertModel(BertConfig(**SHAPE)).save_pretrained(tmp_path)
    model = MaskedLanguageModel(load_backbone(tmp_path), CANDIDATES)
    assert not load_head(model, tmp_path)


def test_the_output_matrix_is_the_embeddings_and_only_of_candidates():
    """An untied copy is trained in their place and thrown away with the head."""
    torch.manual_seed(0)
    model = MaskedLanguageModel(BertModel(BertConfig(**SHAPE), add_pooling_layer=False), CANDIDATES)
    rows = model(texts())
    rows[4:].sum().backward()
    gradient = model.backbone.get_input_embeddings().weight.grad
    assert set(gradient.abs().sum(1).nonzero().flatten().tolist()) == set(CANDIDATES.tolist())
    assert torch.equal(rows[4:, :-1], model.backbone.get_input_embeddings().weight[CANDIDATES])
    assert model.bias_V.grad is not None
