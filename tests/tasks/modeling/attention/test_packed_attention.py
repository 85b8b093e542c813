"""Packed attention: the same numbers by another road, and a choice of road that was measured."""

import pytest
import torch
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from tasks.modeling.attention.packed_attention import (
    ATTENTION,
    choose_kernel,
    first_position,
    install,
    packed_attention,
)
from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier

SHAPE = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 40,
}  # fmt: skip


def roberta():
    torch.manual_seed(0)
    return XLMRobertaModel(XLMRobertaConfig(**SHAPE, pad_token_id=7), add_pooling_layer=False)


def bert():
    torch.manual_seed(0)
    return BertModel(BertConfig(**SHAPE), add_pooling_layer=False)


@pytest.mark.parametrize("encoder", [bert, roberta])
def test_padded_texts_keep_their_bits(encoder):
    """Installing the packed kernels must not change one logit of what is cached already."""
    plain, installed = encoder().eval(), encoder().eval()
    assert install(installed)
    assert (plain.config._attn_implementation, installed.config._attn_implementation) == (
        "sdpa",
        ATTENTION,
    )
    ids = torch.randint(8, 50, (3, 9))
    mask = (torch.arange(9) < torch.tensor([[9], [4], [1]])).long()
    for attention_mask in (mask, torch.ones_like(mask)):
        expected = plain(input_ids=ids, attention_mask=attention_mask).last_hidden_state
        found = installed(input_ids=ids, attention_mask=attention_mask).last_hidden_state
        assert torch.equal(found, expected)


def test_an_encoder_asked_for_eager_attention_keeps_it():
    encoder = bert()
    encoder.set_attn_implementation("eager")
    assert not install(encoder)
    assert encoder.config._attn_implementation == "eager"


def test_robertas_first_token_has_the_position_after_the_padding_id():
    """Counted from 0, every text of a RoBERTa teacher is read two places off, only when packed."""
    encoder = roberta().eval()
    assert (first_position(encoder), first_position(bert())) == (8, 0)
    ids = torch.tensor([[9, 20, 31, 12]])
    explicit = encoder(input_ids=ids, position_ids=torch.arange(4)[None] + 8)
    torch.testing.assert_close(
        explicit.last_hidden_state, encoder(input_ids=ids).last_hidden_state, rtol=0, atol=0
    )


def test_the_saved_folder_does_not_name_our_attention(tmp_path):
    """A consumer's transformers would look for an attention that it has never heard of."""
    model = EncoderClassifier(bert(), num_labels=2, pooling="mean", dropout=0.0)
    assert model.can_pack
    save_classifier(model, tmp_path, problem="text_classification")
    assert ATTENTION not in (tmp_path / "config.json").read_text(encoding="utf-8")


def test_a_kernel_without_dropout_refuses_it():
    """Left out silently, the regularisation of the recipe is gone on one kind of device."""
    states = torch.zeros(1, 2, 6, 8)
    starts = torch.tensor([0, 6], dtype=torch.int32)
    with pytest.raises(ValueError, match="dropout"):
        packed_attention(
            torch.nn.Identity(), states, states, states, None,
            dropout=0.1, max_length_q=6, cu_seq_lens_q=starts,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("mean", "longest", "head", "dropout", "precision", "compiled", "expected"),
    [
        (28, 128, 32, 0.0, "bf16", True, ("rows", 128)),
        (28, 128, 64, 0.1, "bf16", False, ("rows", 128)),
        (28, 200, 64, 0.0, "bf16", True, ("rows", 256)),
        (28, 512, 64, 0.0, "bf16", True, ("flex", 128)),
        (120, 512, 32, 0.0, "bf16", True, ("flex", 64)),
        (120, 512, 64, 0.0, "bf16", True, ("varlen", 0)),
        (120, 512, 32, 0.0, "bf16", False, ("varlen", 0)),
        (120, 500, 64, 0.1, "bf16", True, ("rows", 512)),  # dropout on attention: rows alone
        (120, 512, 64, 0.0, "fp32", False, ("rows", 512)),  # flash attention has no fp32
    ],
)
def test_the_kernel_follows_the_measured_table(
    mean, longest, head, dropout, precision, compiled, expected
):
    """Varlen for short texts: three times the attention time of rows."""
    found = choose_kernel(
        mean_length=mean, longest=longest, head_size=head, attention_dropout=dropout,
        precision=precision, compiled=compiled,
    )  # fmt: skip
    assert found == expected
