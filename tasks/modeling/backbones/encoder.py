"""Encoders from a URI or from a shape: any model that Hugging Face's AutoModel reads.

Weights are safetensors only, code never comes with them: `trust_remote_code` is not an option.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    BertModel,
    ElectraConfig,
    ElectraModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from data_contracts.errors import SourceError
from tasks.modeling.backbones.low_rank import low_rank_shape
from tasks.modeling.config import StudentArchitecture

_SHOWN = 3
# Of the weights' file, where layers are products: `AutoModel` alone does not find it.
_LOW_RANK_VARIANT = "low_rank"


def load_backbone(folder: Path) -> PreTrainedModel:
    """The encoder in `folder` (config.json and safetensors), float32, without a pooler.

    Raises: SourceError if the folder holds no model that can be read safely.
    """
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise SourceError(
            f"{folder} holds no config.json with *.safetensors",
            rule="a model is a Hugging Face folder with safetensors weights (pickles are refused)",
            remedy="convert it with save_pretrained(folder), which writes safetensors",
        )
    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    # Encoders saved with a pooler or head we do not load would each print a table of those keys.
    transformers_logging.set_verbosity_error()
    try:
        config = load_config(folder)
        without_pooler = {"add_pooling_layer": False} if config.model_type in _HAS_POOLER else {}
        options = {"dtype": torch.float32, "attn_implementation": "sdpa", **without_pooler}
        if share := getattr(config, "low_rank", None):
            backbone = _of_low_rank(folder, config, share, options)
        else:
            backbone = load_whole(AutoModel, folder, config=config, **options)
        for name, weight in backbone.named_parameters():
            if name.startswith("pooler."):  # unused: several processes would wait for its gradient
                weight.requires_grad_(False)
        return backbone
    finally:
        transformers_logging.set_verbosity(verbosity)


def load_whole(network: Any, folder: Path, **options: Any) -> PreTrainedModel:
    """What `network.from_pretrained` reads from `folder`, every weight of it from the files.

    transformers draws what the files lack, or have in another shape or under another name, at
    random, other numbers each time, and says so in a log that nobody reads: half an encoder, or
    none of it, would be taken for a pretrained one.

    Args:
        network: one of transformers' classes, such as AutoModel.
    Raises: SourceError if the files cannot be read, or are of another network.
    """
    try:
        model, found = network.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with the weights' names
            **options,
        )
    except (OSError, SafetensorError, StrictDataclassError, ValueError) as error:
        raise SourceError(
            f"the model in {folder} cannot be read: {error}",
            rule="a model is config.json with the *.safetensors that were saved with it, of a "
            "family whose attention is computed by torch (sdpa)",
            remedy="copy its files again (of a git clone: git lfs pull), or name another model",
        ) from error
    lacking = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    other = sorted(name for name, *_ in found["mismatched_keys"])
    if lacking or other:
        told = [
            f"{what} {len(names)} of the weights that config.json describes, such as "
            f"{', '.join(names[:_SHOWN])}"
            for what, names in (("lack", lacking), ("have in another shape", other))
            if names
        ]
        raise SourceError(
            f"the *.safetensors in {folder} {' and '.join(told)}",
            rule="weights that are not there would be drawn at random",
            remedy="copy config.json and the weights from one place, as save_pretrained writes "
            "them; names with another beginning are of another class of models",
        )
    return model


def load_config(folder: Path) -> PretrainedConfig:
    """What config.json in `folder` says of its network.

    Raises: SourceError if it cannot be read, or names a family that is not known here.
    """
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, StrictDataclassError) as error:
        first = str(error).strip().partition("\n")[0]
        raise SourceError(
            f"{folder / 'config.json'} describes no model that is known here: {first}",
            rule="config.json is JSON and has the model_type of a family in the installed "
            "transformers, such as bert or xlm-roberta",
            remedy="copy the file again from where the model is from; a family that is newer needs "
            "a newer transformers",
        ) from error


def save_backbone(backbone: PreTrainedModel, folder: Path) -> None:
    """Write what `load_backbone` reads into `folder`: config.json and safetensors."""
    is_low_rank = getattr(backbone.config, "low_rank", None)
    backbone.save_pretrained(folder, variant=_LOW_RANK_VARIANT if is_low_rank else None)


def _of_low_rank(
    folder: Path, config: PretrainedConfig, share: float, options: Mapping[str, Any]
) -> PreTrainedModel:
    path = folder / f"model.{_LOW_RANK_VARIANT}.safetensors"
    with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten
        backbone = low_rank_shape(AutoModel.from_config(config, **options), share)
    try:
        backbone.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise SourceError(
            f"{folder} has low_rank {share} in config.json, and no {path.name} of such a network: "
            f"{error}",
            rule="the file holds two factors for each matrix of the layers",
            remedy="copy the folder again from where it was made",
        ) from error
    return backbone.eval()


def build_student_backbone(
    shape: StudentArchitecture, *, vocab_size: int, pad_token_id: int, max_length_tokens: int
) -> PreTrainedModel:
    """A BERT encoder of the given shape with weights drawn from torch's current random state.

    With an `embedding_size` it is an ELECTRA encoder: the same layers, and narrower embeddings that
    are projected to their width.
    """
    sizes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "intermediate_size": shape.intermediate_size,
        "hidden_dropout_prob": shape.dropout,
        "attention_probs_dropout_prob": shape.dropout,
        "max_position_embeddings": max_length_tokens,
        "type_vocab_size": 1,
        "pad_token_id": pad_token_id,
    }
    if shape.embedding_size is not None:
        narrow = ElectraConfig(embedding_size=shape.embedding_size, **sizes)
        narrow._attn_implementation = "sdpa"
        return ElectraModel(narrow)
    config = BertConfig(**sizes)
    config._attn_implementation = "sdpa"
    return BertModel(config, add_pooling_layer=False)


# Architectures whose AutoModel adds a tanh pooler that we would train and never use.
_HAS_POOLER = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})
