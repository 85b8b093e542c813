"""A narrower encoder out of a wider one: dimensions, heads and neurons of largest weights stay.

    hidden 384, 12 heads of 32, inner 1536   →   hidden 192, 6 heads of 32, inner 768

The hidden states run through all layers, so the same dimensions stay in each; heads and neurons are
chosen layer by layer. A head keeps its width, so the number of heads follows from hidden_size.
What counts is the sum of squared weights that read or write a dimension, head or neuron, each
matrix taken as a share of its own sum, or the embeddings would outvote everything. Magnitude sees
no data: expect a student that has to learn again, from a better start than a random one.

References: Michel et al. 2019, arXiv:1905.10650 (most heads can go; they choose by gradients, which
    takes a pass over data).
Shapes: D width, V vocabulary, I inner width.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from data_contracts.errors import RecipeError, SourceError

_QKV = tuple(f"attention.self.{name}" for name in ("query", "key", "value"))
_PATTERN = "encoder.layer.{}."


def prune_width(
    backbone: PreTrainedModel, *, hidden_size: int | None, intermediate_size: int | None
) -> PreTrainedModel:
    """A new encoder with `hidden_size` dimensions and `intermediate_size` neurons a layer.

    Args:
        backbone: of BERT's family (bert, roberta, xlm-roberta, camembert).
        hidden_size, intermediate_size: as many stay; all if None.
    Raises: RecipeError if there are fewer, or heads do not fit; SourceError for other encoders.
    """
    config = backbone.config
    weights = {name: tensor.detach() for name, tensor in backbone.state_dict().items()}
    if (
        _PATTERN.format(0) + _QKV[0] + ".weight" not in weights
        or "embeddings_project.weight" in weights
    ):
        raise SourceError(
            f"a {config.model_type} model ({type(backbone).__name__}) has other layers than BERT's",
            rule="the width of encoders of BERT's family can be reduced",
            remedy="leave out student.architecture.hidden_size and intermediate_size",
        )
    old_width, head_size = config.hidden_size, config.hidden_size // config.num_attention_heads
    width = hidden_size or old_width
    inner = intermediate_size or config.intermediate_size
    for name, wanted, available in (
        ("hidden_size", width, old_width),
        ("intermediate_size", inner, config.intermediate_size),
    ):
        if wanted > available:
            raise RecipeError(
                f"student.architecture.{name} is {wanted}, the model has {available}",
                rule="dimensions are taken out of a model, none are added",
                remedy=f"set it to {available} or less",
            )
    if width % head_size:
        raise RecipeError(
            f"student.architecture.hidden_size is {width}, the model's heads are {head_size} wide",
            rule="heads stay whole: hidden_size is a multiple of their width",
            remedy=f"set it to {width - width % head_size or head_size}",
        )
    kept = _Kept(weights, config.num_hidden_layers, head_size, width=width, inner=inner)
    config.hidden_size, config.intermediate_size = width, inner
    config.num_attention_heads = width // head_size
    options = {}
    if "add_pooling_layer" in inspect.signature(type(backbone).__init__).parameters:
        options["add_pooling_layer"] = False
    config._attn_implementation = "sdpa"
    pruned = type(backbone)(config, **options)
    expected = pruned.state_dict()
    pruned.load_state_dict({name: kept.of(name, weights[name]) for name in expected})
    return pruned


class _Kept:
    """Which rows and columns of each matrix stay."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        num_layers: int,
        head_size: int,
        *,
        width: int,
        inner: int,
    ) -> None:
        layers = [_PATTERN.format(number) for number in range(num_layers)]
        self._dims = _largest(_dimension_scores(weights, layers), width)
        self._units: dict[str, Tensor] = {}
        self._neurons: dict[str, Tensor] = {}
        for layer in layers:
            heads = _largest(_head_scores(weights, layer, head_size), width // head_size)
            places = torch.arange(head_size)
            self._units[layer] = (heads[:, None] * head_size + places).flatten()
            self._neurons[layer] = _largest(_neuron_scores(weights, layer), inner)

    def of(self, name: str, weight: Tensor) -> Tensor:
        """What stays of the weight `name`."""
        layer = next((layer for layer in self._units if name.startswith(layer)), "")
        part = name.removeprefix(layer)
        if not layer:  # embeddings: (V, D), and norms (D,)
            return weight[..., self._dims] if weight.is_floating_point() else weight
        units, neurons, dims = self._units[layer], self._neurons[layer], self._dims
        if part.startswith(_QKV):
            rows, columns = units, dims
        elif part.startswith("attention.output.dense"):
            rows, columns = dims, units
        elif part.startswith("intermediate.dense"):
            rows, columns = neurons, dims
        elif part.startswith("output.dense"):
            rows, columns = dims, neurons
        else:  # norms
            return weight[dims]
        return weight[rows][:, columns] if weight.ndim == 2 else weight[rows]


def _dimension_scores(weights: Mapping[str, Tensor], layers: list[str]) -> Tensor:
    """(D,): what each dimension of the hidden states weighs, over all layers."""
    tables = ["embeddings.word_embeddings", "embeddings.position_embeddings"]
    readers = [layer + name for layer in layers for name in (*_QKV, "intermediate.dense")]
    writers = [
        layer + name for layer in layers for name in ("attention.output.dense", "output.dense")
    ]
    columns = [_shares(weights[f"{name}.weight"], axis=0) for name in (*tables, *readers)]
    rows = [_shares(weights[f"{name}.weight"], axis=1) for name in writers]
    return torch.stack([*columns, *rows]).sum(0)


def _head_scores(weights: Mapping[str, Tensor], layer: str, head_size: int) -> Tensor:
    """(heads,): what each head of a layer weighs."""
    rows = [_shares(weights[f"{layer}{name}.weight"], axis=1) for name in _QKV]
    columns = _shares(weights[f"{layer}attention.output.dense.weight"], axis=0)
    return torch.stack([*rows, columns]).sum(0).reshape(-1, head_size).sum(1)


def _neuron_scores(weights: Mapping[str, Tensor], layer: str) -> Tensor:
    """(I,): what each neuron of a layer weighs."""
    read = _shares(weights[f"{layer}intermediate.dense.weight"], axis=1)
    return read + _shares(weights[f"{layer}output.dense.weight"], axis=0)


def _shares(weight: Tensor, *, axis: int) -> Tensor:
    """Sums of squares over `axis`, as shares of the whole matrix."""
    squares = weight.double().square().sum(axis)
    return squares / squares.sum()


def _largest(scores: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest scores, in their old order."""
    return scores.sort(descending=True, stable=True).indices[:count].sort().values
