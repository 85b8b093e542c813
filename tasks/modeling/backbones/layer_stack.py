"""Where an encoder keeps its Transformer layers and their matrices, whatever they are called."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from data_contracts.errors import SourceError


def layer_stack(backbone: PreTrainedModel) -> tuple[nn.Module, str, nn.ModuleList]:
    """The list of the encoder's layers: the module it belongs to, its name there, and itself.

    Raises: SourceError if there is not exactly one.
    """
    config = backbone.config
    stacks = [
        (parent, name, child)
        for parent in backbone.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == config.num_hidden_layers
    ]
    if len(stacks) != 1:
        raise SourceError(
            f"a {config.model_type} model ({type(backbone).__name__}) has {len(stacks)} lists of "
            f"its {config.num_hidden_layers} layers",
            rule="layers are counted in encoders that keep them in one list",
            remedy="start from another encoder, or from a shape (init: random)",
        )
    return stacks[0]


def linear_layers(backbone: PreTrainedModel) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Linear modules inside the layers: the module that each belongs to, its name there, itself."""
    _, _, layers = layer_stack(backbone)
    return [
        (parent, name, child)
        for parent in layers.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
