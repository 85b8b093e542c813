"""Layers, width and positions of a pretrained encoder, if its config.json is here. No torch.

folder, pkg://      config.json in it
hf://org/name@…     config.json in the hub's cache; nothing is fetched
s3://, or none yet  not known before a run has fetched it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.runtime.files.locations import model_file_here

# What transformers calls num_hidden_layers and hidden_size is written by DistilBERT and others so.
_LAYERS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
_WIDTH = ("hidden_size", "dim", "d_model", "n_embd")
# Families that learn a vector a position and have none for the next one; and of these the ones
# that count positions from the padding id: their first are never read.
_LEARNED_POSITIONS = frozenset(
    {"albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"}
)
_AFTER_PADDING = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta"})


@dataclass(frozen=True)
class KnownShape:
    """What a configuration says; None where it does not.

    Args:
        num_layers: Transformer layers.
        width: of the hidden states.
        num_positions: tokens of a text that it can read, where positions are learned.
    """

    num_layers: int | None
    width: int | None
    num_positions: int | None = None


def known_shape(uri: str) -> KnownShape | None:
    """The shape of the encoder at `uri`; None if it is not here, or cannot be read."""
    path = model_file_here(uri, "config.json")
    if path is None:
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # what is wrong with it is told by whoever loads it
        return None
    if not isinstance(config, dict):
        return None
    return KnownShape(_number(config, _LAYERS), _number(config, _WIDTH), _num_positions(config))


def _num_positions(config: Mapping[str, Any]) -> int | None:
    found, family = _number(config, ("max_position_embeddings",)), config.get("model_type")
    if found is None or not isinstance(family, str) or family not in _LEARNED_POSITIONS:
        return None
    padding = _number(config, ("pad_token_id",))
    return found - (1 if padding is None else padding) - 1 if family in _AFTER_PADDING else found


def _number(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = (config[name] for name in names if isinstance(config.get(name), int))
    return next(found, None)
