"""Which weights of a network training may change: all, few, or low-rank updates beside them.

    all           every weight
    last_layers   the topmost Transformer layers
    bias          the biases (BitFit)
    head          what stands on top of the encoder, which all the others train too
    lora          W x + (alpha / rank) B A x beside frozen matrices W

Token embeddings are ruled by `embedding_updates` alone, which may train them beside any of these.
Low-rank updates are added into their matrices when training is done, so that what is saved is a
plain model that anybody can load, and is as fast as before. A 12-layer, 384-wide encoder has 21.3
million weights in its layers; updates of rank 8 are 0.66 million, and AdamW keeps moments of those
alone.

References: Hu et al. 2022, arXiv:2106.09685 (LoRA); Ben Zaken et al. 2022, arXiv:2106.10199
    (BitFit).
"""

from __future__ import annotations

from transformers import PreTrainedModel

from data_contracts.errors import RecipeError
from tasks.modeling.backbones.layer_stack import layer_stack, linear_layers
from tasks.modeling.backbones.low_rank import LowRankLinear
from tasks.modeling.config import LoraAdapters, Trainable

_ADAPTER = "decant"


def choose_trainable(
    backbone: PreTrainedModel,
    trainable: Trainable,
    *,
    lora: LoraAdapters | None = None,
    num_layers: int | None = None,
) -> None:
    """Leave trainable in `backbone` what `trainable` says, in place; its head is another module.

    Low-rank updates start as zero, their A drawn from torch's current random state.

    Args:
        lora: their shape; the defaults if not given.
        num_layers: of `last_layers`.
    Raises: RecipeError if the encoder has nothing of that kind.
    """
    if trainable == "all":
        return
    if trainable == "lora":
        _add_updates(backbone, lora or LoraAdapters.model_validate({}))
        return
    backbone.requires_grad_(False)
    if trainable == "last_layers":
        _, _, layers = layer_stack(backbone)
        count = num_layers or 0
        if not 1 <= count <= len(layers):
            raise RecipeError(
                f"num_trainable_layers is {count}, the encoder has {len(layers)} layers",
                rule=f"between 1 and {len(layers)}",
                remedy="lower it, or set trainable to all",
            )
        for layer in layers[len(layers) - count :]:
            layer.requires_grad_(True)
    elif trainable == "bias":
        biases = [
            weight
            for name, weight in backbone.named_parameters()
            if name.rpartition(".")[2] == "bias" and not name.startswith("pooler.")
        ]
        if not biases:
            raise RecipeError(
                f"a {backbone.config.model_type} encoder has no biases",
                rule="trainable: bias trains the biases",
                remedy="set trainable to lora or last_layers",
            )
        for bias in biases:
            bias.requires_grad_(True)


def merge_adapters(backbone: PreTrainedModel) -> None:
    """Add low-rank updates into their matrices and drop them, in place; the answers stay the same.

    Rounding differs by a few units in the last place: W x + B A x becomes (W + B A) x.
    """
    if not hasattr(backbone, "peft_config"):
        return
    from peft.tuners.lora import LoraLayer

    adapted = [
        (name, module) for name, module in backbone.named_modules() if isinstance(module, LoraLayer)
    ]
    for name, module in adapted:
        module.merge(safe_merge=True)  # refuses what is not finite
        parent, _, own = name.rpartition(".")
        setattr(backbone.get_submodule(parent), own, module.get_base_layer())
    del backbone.peft_config


def _add_updates(backbone: PreTrainedModel, lora: LoraAdapters) -> None:
    import peft  # 4 s, paid by those who ask for it

    targets = _linear_layers(backbone, lora.target_modules)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType]  # any number does
        lora_dropout=lora.dropout,
        target_modules=targets,
    )
    peft.inject_adapter_in_model(config, backbone, adapter_name=_ADAPTER)


def _linear_layers(backbone: PreTrainedModel, wanted: tuple[str, ...]) -> list[str]:
    """Full names of the linear layers in the Transformer layers whose own name is in `wanted`.

    Both factors of a product go by the name of the matrix that they stand for.
    """
    inside = {id(module) for _, _, module in linear_layers(backbone)}
    linear = [name for name, module in backbone.named_modules() if id(module) in inside]
    own_names = {name: _own_name(backbone, name) for name in linear}
    if missing := sorted(set(wanted) - set(own_names.values())):
        raise RecipeError(
            f"lora.target_modules names {', '.join(missing)}, which the encoder does not have",
            rule=f"linear layers of a {backbone.config.model_type}: "
            f"{', '.join(sorted(set(own_names.values())))}",
            remedy="choose among these, or leave target_modules empty for all",
        )
    return [name for name in linear if not wanted or own_names[name] in wanted]


def _own_name(backbone: PreTrainedModel, name: str) -> str:
    parent, _, own = name.rpartition(".")
    if isinstance(backbone.get_submodule(parent), LowRankLinear):
        own = parent.rpartition(".")[2]
    return own
