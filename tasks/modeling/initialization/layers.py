"""A student cut out of a pretrained encoder: some of its layers, some rows of its embeddings.

    model      embeddings 250,037 rows │ layers 0 1 2 3 4 5 6 7 8 9 10 11
    student    the rows that it reads  │ layers 0       4       8      11

Any encoder of transformers will do whose layers are alike and stand in one `ModuleList` of
`num_hidden_layers` entries; the cut network is compared with one built from its configuration, so
what is saved can be loaded.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from data_contracts.errors import RecipeError, SourceError
from tasks.modeling.backbones.encoder import load_backbone
from tasks.modeling.backbones.layer_stack import layer_stack
from tasks.modeling.backbones.positions import check_length
from tasks.modeling.backbones.vocabulary import (
    embedding_rows,
    gather_embeddings,
    read_vocabulary,
)
from tasks.modeling.config import PretrainedArchitecture
from tasks.modeling.initialization.width_pruning import prune_width


def copy_backbone(
    folder: Path,
    architecture: PretrainedArchitecture,
    *,
    tokenizer: Path,
    pad_token_id: int,
    max_length_tokens: int,
) -> PreTrainedModel:
    """The encoder in `folder`, cut to the layers and tokens of a student.

    Args:
        folder: a model folder with its tokenizer.json, such as that of a fine-tuned teacher.
        tokenizer: the student's tokenizer.json; each of its tokens is one of the model's.
        pad_token_id, max_length_tokens: of the student's tokens.

    Raises: SourceError, RecipeError if model, layers and tokenizer do not fit each other.
    """
    backbone = load_backbone(folder)
    if getattr(backbone.config, "low_rank", None):
        raise SourceError(
            f"{folder} has a product of two in the place of each matrix (low_rank)",
            rule="layers, widths and products are taken out of whole matrices",
            remedy="start from the model that it was cut out of, or from a shape (init: random)",
        )
    check_length(backbone, max_length_tokens, section="student")
    keep_layers(backbone, chosen_layers(architecture, backbone.config.num_hidden_layers))
    model, student = (read_vocabulary(path) for path in (folder / "tokenizer.json", tokenizer))
    gather_embeddings(backbone, embedding_rows(student, model), pad_token_id=pad_token_id)
    if architecture.hidden_size or architecture.intermediate_size:
        backbone = prune_width(
            backbone,
            hidden_size=architecture.hidden_size,
            intermediate_size=architecture.intermediate_size,
        )
    _check_rebuildable(backbone)
    return backbone


def chosen_layers(architecture: PretrainedArchitecture, available: int) -> tuple[int, ...]:
    """Numbers of the layers to copy out of `available` ones.

        12 layers, 4 of them:  uniform 0 4 7 11   first 0 1 2 3   last 8 9 10 11

    Raises: RecipeError if the model has too few.
    """
    layers, count = architecture.layers, architecture.num_layers or 0
    if isinstance(layers, tuple):
        chosen = layers
    elif layers == "uniform":
        step = (available - 1) / max(1, count - 1)
        chosen = tuple(round(number * step) for number in range(count))
    else:
        first = 0 if layers == "first" else available - count
        chosen = tuple(range(first, first + count))
    if count > available or max(chosen) >= available:
        raise RecipeError(
            f"the student wants layers {list(chosen)} of a model with {available}",
            rule=f"layers are numbered 0 to {available - 1}",
            remedy="correct student.architecture.layers or num_layers",
        )
    return chosen


def keep_layers(backbone: PreTrainedModel, chosen: Sequence[int]) -> None:
    """Leave only the layers `chosen` in `backbone`, in that order, in place.

    One that is chosen again is a copy: each place has weights of its own.

    Raises: SourceError if it does not keep its layers in one list.
    """
    config = backbone.config
    parent, name, layers = layer_stack(backbone)
    kept = nn.ModuleList(
        copy.deepcopy(layers[number]) if number in chosen[:place] else layers[number]
        for place, number in enumerate(chosen)
    )
    setattr(parent, name, kept)
    if isinstance(kinds := getattr(config, "layer_types", None), list):
        config.layer_types = [kinds[number] for number in chosen]
    config.num_hidden_layers = len(chosen)


def _check_rebuildable(backbone: PreTrainedModel) -> None:
    """Compare with a network built from the configuration: that is how it will be loaded."""
    with torch.device("meta"):
        rebuilt = type(backbone)._from_config(backbone.config)
    expected = {name: tensor.shape for name, tensor in rebuilt.state_dict().items()}
    found = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    odd = sorted(
        name
        for name in (expected.keys() | found.keys())
        if expected.get(name) != found.get(name) and not name.startswith("pooler.")
    )
    if odd:
        raise SourceError(
            f"a {backbone.config.model_type} model with these layers alone cannot be loaded again: "
            f"{odd[0]} differs",
            rule="copied layers are alike, so that each can take another's place",
            remedy="choose other layers, or a shape (init: random)",
        )
