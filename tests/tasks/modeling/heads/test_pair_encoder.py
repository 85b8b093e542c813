"""A bi-encoder reads the two texts of a pair apart, whatever stands beside them."""

import numpy as np
import pytest
import torch

from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.backbones.static_embeddings import build_static_backbone
from tasks.modeling.config import StaticArchitecture, StudentArchitecture
from tasks.modeling.heads.classifier import save_classifier
from tasks.modeling.heads.pair_encoder import PairEncoder, read_apart
from tasks.problems import load_model
from tasks.serving.export.onnx_export import export_onnx, predict_onnx
from tasks.serving.portable.base import read_apart as read_apart_in_service
from tasks.training.batching.layouts import Layout
from tasks.training.batching.passes import make_passes, pad
from tasks.training.batching.ragged import RaggedIds
from tasks.training.fitting.inference import predict_logits

CLS, SEP, SIZE = 2, 3, 30
PAIRS = [
    ([5, 6, 7], [8]),
    ([9], [10, 11, 12, 13, 14]),
    ([5, 6, 7], [20, 21]),
    ([22, SEP, 23], [24]),  # a lone separator in a text does not end it
]


def joined(pair):
    return [token for text in pair for token in (CLS, *text, SEP)]


def padded(rows, *, extra=0):
    longest = max(map(len, rows)) + extra
    ids = torch.zeros((len(rows), longest), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(rows):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    return ids, mask


@pytest.fixture(params=["mean", "cls", "static"])
def network(request):
    torch.manual_seed(0)
    sizes = {"vocab_size": SIZE, "pad_token_id": 0, "max_length_tokens": 16}
    if request.param == "static":
        made = build_static_backbone(StaticArchitecture(init="static", hidden_size=16), **sizes)
    else:
        shape = StudentArchitecture(num_layers=2, hidden_size=16, num_heads=2, intermediate_size=32)
        made = build_student_backbone(shape, **sizes)
    pooling = "cls" if request.param == "cls" else "mean"
    model = PairEncoder(made, num_labels=3, pooling=pooling, dropout=0.1).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def expected_logits(model, pair):
    """Each text through the encoder alone, pooled and compared by hand."""
    vectors = []
    for text in pair:
        ids = torch.tensor([[CLS, *text, SEP]])
        states = model.backbone(input_ids=ids, attention_mask=torch.ones_like(ids))
        of_text = states.last_hidden_state[0].double()
        vectors.append(of_text[0] if model.pooling == "cls" else of_text.mean(0))
    u, v = vectors
    seen = torch.cat([u, v, (u - v).abs(), u * v])
    return model.head.weight.double() @ seen + model.head.bias.double()


@torch.no_grad()
def test_each_text_is_read_as_if_it_were_alone(network):
    """Attention across the two texts would be another model than the one that was asked for."""
    found = network(*padded([joined(pair) for pair in PAIRS], extra=3)).double()
    for row, pair in zip(found, PAIRS, strict=True):
        torch.testing.assert_close(row, expected_logits(network, pair), rtol=1e-4, atol=1e-5)


def ragged(pairs):
    """As training reads them."""
    rows = [np.array(joined(pair), np.int32) for pair in pairs]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return RaggedIds(np.concatenate(rows), offsets)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize(
    "layout",
    [
        Layout("rows", 32, width=16, granule=32, longest=16, max_texts=6),
        Layout("varlen", 128, granule=128, longest=16, max_texts=6),
        Layout("flex", 128, width=16, granule=128, longest=16, max_texts=6),
        Layout("varlen", 128, granule=1, longest=16),
    ],
    ids=["rows", "varlen", "flex", "stream"],
)
@torch.no_grad()
def test_packed_pairs_are_read_as_if_each_text_were_alone(network, layout):
    """A text that sees its partner, its neighbour or filler answers by what it was packed with."""
    pairs = [*PAIRS, ([7] * 8, [21]), ([CLS, 4], [4, CLS])]
    passes = list(make_passes(ragged(pairs), np.arange(6), layout, pad_token_id=0))
    assert sorted(number for one in passes for number in one.members) == list(range(6))
    for one in passes:
        found = network(one.texts)
        assert found.isfinite().all(), "what filler gives is multiplied by zero, which NaN survives"
        for logits, number in zip(found, one.members, strict=False):
            wanted = expected_logits(network, pairs[number])
            torch.testing.assert_close(logits.double(), wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_neighbours_and_padding_change_nothing(network):
    """An answer that moves with the longest pair of its batch cannot be repeated."""
    alone = torch.cat([network(*padded([joined(pair)])) for pair in PAIRS])
    torch.testing.assert_close(network(*padded([joined(p) for p in PAIRS], extra=4)), alone)


def test_a_batch_is_split_where_the_second_text_begins():
    """By hand: ids and masks of both sides, cropped to the longest text."""
    ids, mask = padded([joined(pair) for pair in PAIRS[:2]])
    texts = read_apart(ids, mask)
    kept = [
        row[keep.bool()].tolist()
        for row, keep in zip(texts.input_ids, texts.attention_mask_BL, strict=True)
    ]
    assert kept == [[2, 5, 6, 7, 3], [2, 9, 3], [2, 8, 3], [2, 10, 11, 12, 13, 14, 3]]
    assert texts.input_ids.shape == (4, 7)


def test_pairs_of_one_token_or_none_have_finite_answers(network):
    """A batch of nothing but a lone token, or an empty row beside others, would be no number."""
    one = network(torch.tensor([[CLS]]), torch.ones(1, 1, dtype=torch.int64))
    ids, mask = padded([joined(PAIRS[0]), joined(PAIRS[1])])
    mask[1] = 0
    beside = network(ids, mask)
    assert one.isfinite().all()
    assert beside.isfinite().all()


def test_a_served_pair_is_split_alike():
    """The served script has its own words for it: it must not have its own prediction."""
    ids, mask = padded([joined(pair) for pair in PAIRS], extra=2)
    texts = read_apart(ids, mask)
    served_ids, served_mask = read_apart_in_service(ids.numpy(), mask.numpy())
    np.testing.assert_array_equal(served_mask, texts.attention_mask_BL)
    real = served_mask == 1
    np.testing.assert_array_equal(served_ids[real], texts.input_ids.numpy()[real])


@torch.no_grad()
def test_the_graph_splits_pairs_of_other_lengths_than_the_traced(network):
    """A width frozen while tracing would cut every longer text."""
    rows = [np.array(joined(pair)) for pair in PAIRS]
    found = predict_onnx(export_onnx(network), rows, pad_token_id=0, batch_size=2)
    wanted = torch.stack([expected_logits(network, pair) for pair in PAIRS]).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_saved_bi_encoder_is_read_as_one(network, tmp_path):
    """Read back as a cross-encoder, its head would not fit, or worse."""
    save_classifier(network, tmp_path, problem="matching")
    again = load_model(tmp_path)
    assert isinstance(again, PairEncoder)
    rows = [np.array(joined(pair)) for pair in PAIRS]
    found = predict_logits(again, rows, pad_token_id=0)
    np.testing.assert_allclose(found, predict_logits(network, rows, pad_token_id=0), atol=1e-6)


def test_every_weight_of_encoder_and_head_learns(network):
    """A half of the head without a gradient compares nothing."""
    network(*pad(ragged(PAIRS), np.arange(4), pad_token_id=0)).square().sum().backward()
    assert network.head.weight.grad is not None
    assert network.head.weight.shape == (3, 64)
    assert (network.head.weight.grad.abs().reshape(3, 4, 16).amax((0, 2)) > 0).all()
