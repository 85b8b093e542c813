"""The layout that is chosen, and what it is chosen by."""

import numpy as np
import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.modeling.heads.pair_encoder import PairEncoder
from tasks.training.auxiliary.network import AccompaniedStudent
from tasks.training.batching.layout_choice import for_training, padding_a_step, reads_packed_texts
from tasks.training.batching.layouts import Layout, stream_layout
from tasks.training.batching.ragged import RaggedIds


def make_model(network=EncoderClassifier):
    """A RoBERTa: its positions begin behind the id of padding."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=40, pad_token_id=1,
    )  # fmt: skip
    encoder = XLMRobertaModel(config, add_pooling_layer=False)
    return network(encoder, num_labels=3, pooling="mean", dropout=0.0)


def texts_of(lengths):
    """Texts of given lengths, of no token in particular."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return RaggedIds(np.full(offsets[-1], 5, dtype=np.int32), offsets)


def chosen(model, input_ids, *, grouped):
    return for_training(
        model, input_ids, batch_size=8, grouped=grouped, pad_token_id=1,
        precision="fp32", compiled=False,
    )  # fmt: skip


def test_a_cpu_reads_a_stream_where_padding_costs_more_than_gathering(monkeypatch):
    """Of steps that mix lengths half is padding: computed, and thrown away."""
    model = make_model()
    even = np.repeat(np.arange(5, 13), 8)  # sorted, steps are without padding
    assert padding_a_step(even, batch_size=8, grouped=True) == 0
    mixed = np.tile([5, 5, 5, 5, 5, 5, 5, 12], 8)  # 49 tokens a step if each had one long text
    assert 0 < padding_a_step(mixed, batch_size=8, grouped=False) < 49
    odd = np.array([2] * 7 + [30] + [2] * 7 + [30])
    assert padding_a_step(odd, batch_size=16, grouped=True) == 14 * 28
    assert chosen(model, texts_of(even), grouped=True) == Layout("padded", 16384)
    stream = Layout("varlen", 16384, granule=1, longest=30)
    assert chosen(model, texts_of(odd), grouped=False) == stream
    # A step stays whole where it was: losses that compare its texts read all of them.
    assert stream_layout(odd, batch_size=1000).pass_tokens == 30_000
    monkeypatch.setenv("DECANT_MAX_TOKENS_PER_PASS", "24")
    assert chosen(model, texts_of(even), grouped=True) == Layout("bucketed", 24)
    bounded = chosen(model, texts_of(odd), grouped=False)
    assert bounded.pass_tokens == 30, "the longest text fits in any case"
    monkeypatch.delenv("DECANT_MAX_TOKENS_PER_PASS")
    model.can_pack = False
    assert chosen(model, texts_of(odd), grouped=False) == Layout("bucketed", 16384)


def test_a_cpu_reads_pairs_apart_in_a_stream_though_pairs_are_equally_long():
    """Pairs of one length are of texts of two: the shorter half was padded to the longer."""
    pairs = np.tile([2, 5, 3, 2, 6, 7, 8, 9, 3], 16).astype(np.int32)
    ids = RaggedIds(pairs, np.arange(17) * 9)
    assert padding_a_step(ids.lengths, batch_size=8, grouped=True) == 0
    assert chosen(make_model(), ids, grouped=True) == Layout("padded", 16384)
    apart = make_model(PairEncoder)
    assert chosen(apart, ids, grouped=True) == Layout("varlen", 16384, granule=1, longest=9)
    student = AccompaniedStudent(apart, [])
    assert chosen(student, ids, grouped=True).kind == "varlen"


def test_a_model_that_reads_packed_texts_otherwise_is_found_out():
    """An encoder that uses absolute columns in its own way: wrong, and silently."""
    model, texts = make_model(), texts_of([9, 4, 6])
    assert reads_packed_texts(model, texts, pad_token_id=1)
    model.first_position = 0  # BERT's habit in a RoBERTa
    assert not reads_packed_texts(model, texts, pad_token_id=1)
