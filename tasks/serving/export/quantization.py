"""The int8 form of a graph: 8-bit weights, and activations quantised while it runs.

Weights are unsigned 8-bit with one scale a column. Signed weights are a little faster where the
processor has VNNI but saturate silently on AVX2, so one file would answer differently by machine.
What 8 bits do not serve is stored in 16 and computed in fp32.

Activations have one scale a tensor: 256 steps from the smallest value to the largest. A few values
far out make the steps wide, and what lies between them is rounded away (Dettmers et al. 2022,
arXiv:2208.07339, on such features). So each product is asked how large the rounding noise of its
input is beside what an ordinary token's values vary, and those that would drown are left out.
Three students of 3 and 4 layers cut out of multilingual-e5-small, 99 validation texts:

    noise of the second feed-forward product of the first one or two layers     0.17 to 0.30
    of the 61 other products (but one: 0.13, in fp32 too)                       0.01 to 0.08
    error of the logits, of their deviation, all products in int8               0.034 to 0.051
    the same with products noisier than 0.1 in fp32                             0.015 to 0.019
    answers that change, of 3 x 99                                              4, and then none

In students trained from random weights no product is noisier than 0.04, and all are 8-bit. Noise
adds up along a network, and answers that are one place of many change easily: where too few agree,
`forms` goes on with fewer 8-bit products. A reader of questions, 12 layers of the same model as
products of two (144 of them and the head), 100 validation rows:

    left out if noisier than        -     0.1     0.1     0.05    0.025       0       0
    products in 8 bits            145     126     126       96       53       0       0
    embeddings in 8 bits           no     yes      no       no       no     yes      no
    error of the logits         0.267   0.072   0.068    0.040    0.021   0.021  0.0005
    answers that agree           63 %    89 %    90 %     90 %     98 %    94 %   100 %

Thin products gain nothing by 8 bits: 42.5 megabytes with 53 of them, 43.7 with none, as fast.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.onnx_model import ONNXModel

from tasks.serving.export.onnx_export import anonymous, padded_batches

_NOISE_LIMITS = (0.1, 0.025)  # tried in turn
_PROBED_TEXTS = 128
_PROBED_AT_ONCE = 8  # what enters every product is held at once


def forms(noise: Mapping[str, float]) -> Iterator[tuple[bool, list[str]]]:
    """How much of a network to keep in 8 bits, from the most to nothing.

    Args:
        noise: of each product; see `product_noise`.
    Yields: whether embeddings are 8-bit, and the products that are not.
    """
    noisy, noticed = (
        [name for name, level in noise.items() if level > limit] for limit in _NOISE_LIMITS
    )
    yield True, noisy
    tried: list[list[str]] = []
    for left_out in (noisy, noticed, list(noise)):
        if left_out not in tried:
            yield False, left_out
        tried.append(left_out)


def quantize_int8(
    graph: onnx.ModelProto, *, embeddings: bool, left_out: Collection[str] = ()
) -> onnx.ModelProto:
    """The graph with 8-bit weights in its matrix products and, if asked, its embedding tables.

    Activations are quantised while it runs, one scale a tensor, so no calibration data is needed.
    The other matrices are stored in 16 bits.

    Args:
        left_out: names of products that are computed in fp32.
    """
    operators = ["MatMul", "Gather"] if embeddings else ["MatMul"]
    with tempfile.TemporaryDirectory() as folder, _quiet_root_logger():
        path = Path(folder) / "model.int8.onnx"
        quantize_dynamic(
            graph,
            path,
            op_types_to_quantize=operators,
            nodes_to_exclude=list(left_out),
            per_channel=True,
            weight_type=QuantType.QUInt8,
        )
        return _stored_in_16_bits(anonymous(onnx.load(path)))


def _stored_in_16_bits(graph: onnx.ModelProto) -> onnx.ModelProto:
    """`graph` with its matrices in half precision, as far as that holds their values.

    Rows of a table are widened to fp32 after they were looked up; another weight once, when a
    session is made.
    """
    narrow = {
        weight.name: numpy_helper.to_array(weight)
        for weight in graph.graph.initializer
        if weight.data_type == TensorProto.FLOAT and len(weight.dims) == 2
    }
    largest = np.finfo(np.float16).max
    narrow = {name: values for name, values in narrow.items() if abs(values).max() <= largest}
    widened: dict[str, onnx.NodeProto] = {}
    nodes: list[onnx.NodeProto] = []

    def widen(narrow_name: str, wide_name: str) -> onnx.NodeProto:
        return helper.make_node("Cast", [narrow_name], [wide_name], to=TensorProto.FLOAT)

    for node in graph.graph.node:
        looks_up = node.op_type == "Gather" and node.input[0] in narrow
        for at, name in enumerate(node.input):
            if name in narrow and not (looks_up and at == 0):
                node.input[at] = f"{name}_fp32"
                widened.setdefault(name, widen(name, node.input[at]))
        nodes.append(node)
        if looks_up:
            wide_name = node.output[0]
            node.output[0] = f"{wide_name}_fp16"
            nodes.append(widen(node.output[0], wide_name))
    for weight in graph.graph.initializer:
        if weight.name in narrow:
            values = narrow[weight.name].astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    del graph.graph.node[:]
    graph.graph.node.extend([*widened.values(), *nodes])
    return graph


def product_noise(
    graph: onnx.ModelProto, input_ids: Sequence[np.ndarray], *, pad_token_id: int
) -> dict[str, float]:
    """The rounding noise of what enters each product with weights in 8 bits, by the product's name.

    Args:
        graph: in fp32.
        input_ids: token ids of real texts.
    Returns: a share of what an ordinary token's values vary.
    """
    # A product with a bias is quantised as a product and a sum, under the name it gets here.
    plain = onnx.ModelProto()
    plain.CopyFrom(graph)
    pieces = ONNXModel(plain)
    pieces.replace_gemm_with_matmul()
    pieces.clean_initializers()
    weights = {weight.name for weight in plain.graph.initializer}
    products = {
        node.name: node.input[0]
        for node in plain.graph.node
        if node.op_type == "MatMul" and node.input[1] in weights
    }
    if not products:
        return {}
    inputs = list(dict.fromkeys(products.values()))
    plain.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inputs)
    session = onnxruntime.InferenceSession(
        plain.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    texts = input_ids[:: -(-len(input_ids) // _PROBED_TEXTS)]
    # Of a last pass of one or two, nobody could tell what varies from text to text.
    texts = texts[: -(len(texts) % _PROBED_AT_ONCE)] or texts
    noise_of_batches = [
        [_noise(np.asarray(values), feed["attention_mask"]) for values in session.run(inputs, feed)]
        for feed in padded_batches(texts, pad_token_id=pad_token_id, batch_size=_PROBED_AT_ONCE)
    ]
    noise = dict(zip(inputs, np.mean(noise_of_batches, axis=0), strict=True))
    return {name: float(noise[source]) for name, source in products.items()}


def _noise(values: np.ndarray, mask: np.ndarray) -> float:
    """Root mean square of what 8 bits round away, beside that of a token's values.

    Even rounding to steps of s has a standard deviation of s / sqrt(12); the range holds 0. Of the
    values, what all tokens share is taken off, and the median token counts: outliers in a few
    features or tokens would else hide the noise that they cause.
    """
    step = (max(float(values.max()), 0.0) - min(float(values.min()), 0.0)) / 255
    if values.shape[:-1] == mask.shape:
        values = values[mask.astype(bool)]
    tokens = values.reshape(-1, values.shape[-1]).astype(np.float64)
    varying = tokens - tokens.mean(axis=0)
    ordinary = float(np.median(np.sqrt(np.mean(varying**2, axis=1))))
    return step / 12**0.5 / ordinary if ordinary else 0.0


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """onnxruntime advises a pre-processing step on the root logger; it brings nothing here."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
