import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tasks.serving.export.onnx_export import export_onnx, predict_onnx
from tasks.serving.export.quantization import forms, product_noise, quantize_int8

_TEXTS = [np.array(ids, dtype=np.int32) for ids in ([1, 2, 3], [4, 5], [6, 7, 8, 9], [2, 9])]


def noisy_products(graph, texts=_TEXTS):
    _, left_out = next(forms(product_noise(graph, texts, pad_token_id=0)))
    return left_out


class Reader(nn.Module):
    """Two products over the mean of token vectors, one value of which lies far out."""

    def __init__(self, *, outlier):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(10, 16)
        self.first, self.second = nn.Linear(16, 32, bias=False), nn.Linear(32, 8, bias=False)
        self.shift = nn.Parameter(torch.zeros(32))
        self.shift.data[5] = outlier

    def forward(self, input_ids, attention_mask):
        mask = attention_mask.unsqueeze(-1).float()
        pooled = (self.embed(input_ids) * mask).sum(1) / mask.sum(1)
        return self.second(torch.relu(self.first(pooled) + self.shift))


@pytest.mark.parametrize("outlier", [0.0, 3.0])
def test_products_that_8_bits_serve_are_all_8_bit(outlier):
    """A file twice as large and slower, for nothing."""
    graph = export_onnx(Reader(outlier=outlier))
    assert noisy_products(graph) == []
    kinds = [node.op_type for node in quantize_int8(graph, embeddings=True).graph.node]
    assert "MatMul" not in kinds


def test_forms_leave_out_what_is_noisiest_first_and_in_the_end_all():
    """A form that is tried twice costs minutes; one without 8 bits is the last that can agree."""
    assert list(forms({"first": 0.3, "second": 0.05, "third": 0.01})) == [
        (True, ["first"]),
        (False, ["first"]),
        (False, ["first", "second"]),
        (False, ["first", "second", "third"]),
    ]
    # Of what never varies noise is 0, and leaving it out is the last that can be done.
    assert list(forms({"still": 0.0})) == [(True, []), (False, []), (False, ["still"])]
    assert list(forms({})) == [(True, []), (False, [])]


def test_what_is_not_in_8_bits_takes_16_and_answers_as_32_would():
    """Weights in fp32 beside 8-bit ones make a file of twice the size, for digits nobody sees."""
    graph = export_onnx(Reader(outlier=0.0))
    products = list(product_noise(graph, _TEXTS, pad_token_id=0))
    assert len(products) == 2
    narrow = quantize_int8(graph, embeddings=False, left_out=products)
    stored = {weight.name: weight for weight in narrow.graph.initializer}
    of_matrices = [weight for weight in stored.values() if len(weight.dims) == 2]
    assert sorted(tuple(weight.dims) for weight in of_matrices) == [(10, 16), (16, 32), (32, 8)]
    assert {weight.data_type for weight in of_matrices} == {onnx.TensorProto.FLOAT16}
    onnx.checker.check_model(narrow)
    expected = predict_onnx(graph, _TEXTS, pad_token_id=0)
    found = predict_onnx(narrow, _TEXTS, pad_token_id=0)
    assert found.dtype == np.float32
    # A number of 11 significant bits is off by 2**-11 of itself at most; of many, most cancels.
    assert 0 < np.abs(found - expected).max() < 2**-10 * np.abs(expected).max()


def test_a_weight_too_large_for_half_precision_keeps_its_value():
    """One infinite weight makes every answer of the delivered model not a number."""
    model = Reader(outlier=0.0)
    model.second.weight.data[0, 0] = 1e5
    graph = export_onnx(model)
    products = list(product_noise(graph, _TEXTS, pad_token_id=0))
    narrow = quantize_int8(graph, embeddings=False, left_out=products)
    expected = predict_onnx(graph, _TEXTS, pad_token_id=0)
    found = predict_onnx(narrow, _TEXTS, pad_token_id=0)
    np.testing.assert_allclose(found, expected, rtol=2**-9, atol=2**-9)


def test_a_product_that_reads_outliers_is_left_out_and_saves_the_answers():
    """One value of 300 leaves all others of the tensor to one step of 8 bits: answers flip, and
    the share of answers that agree on few validation texts does not see it coming.
    """
    model = Reader(outlier=300.0)
    # Of a constant the step is all error: what varies is what answers are made of.
    model.second.weight.data[:, 5] = 0
    graph = export_onnx(model)
    (noisy,) = noisy_products(graph)
    assert noisy.split("/")[1] == "second"
    expected = predict_onnx(graph, _TEXTS, pad_token_id=0)

    def error(**options):
        int8 = quantize_int8(graph, embeddings=False, **options)
        found = predict_onnx(int8, _TEXTS, pad_token_id=0)
        return np.abs(found - expected).mean() / expected.std()

    assert error() > 0.3
    assert error(left_out=[noisy]) < 0.05


@pytest.mark.parametrize(("outlier", "is_noisy"), [(40.0, False), (70.0, True)])
def test_noise_is_that_of_8_bit_rounding_beside_an_ordinary_token(outlier, is_noisy):
    """A limit on something else spares products by chance."""

    class Product(nn.Module):
        """One product, of token vectors with one value far out."""

        def __init__(self):
            super().__init__()
            drawn = np.random.default_rng(0).uniform(-1, 1, (2000, 64))
            drawn[7, 9] = outlier
            self.embed = nn.Embedding.from_pretrained(torch.from_numpy(drawn).float())
            self.product = nn.Linear(64, 4, bias=False)

        def forward(self, input_ids, attention_mask):
            return self.product(self.embed(input_ids)).sum(1) + attention_mask.sum(1, keepdim=True)

    model = Product()
    values = model.embed.weight.numpy()
    step = (values.max() - values.min()) / 255
    lost = values - np.rint(values / step) * step
    # uniform on [-1, 1]: a deviation of 1 / sqrt(3)
    assert (np.sqrt((lost**2).mean()) * 3**0.5 > 0.1) == is_noisy
    found = noisy_products(export_onnx(model), [np.arange(2000, dtype=np.int32)])
    assert bool(found) == is_noisy


def test_a_network_without_products_has_none_that_are_noisy():
    """A static student's export fails on an empty session."""

    class Averager(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(10, 4)

        def forward(self, input_ids, attention_mask):
            return (self.embed(input_ids) * attention_mask.unsqueeze(-1)).sum(1)

    assert noisy_products(export_onnx(Averager())) == []
