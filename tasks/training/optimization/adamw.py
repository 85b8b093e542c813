"""AdamW with decay only where it belongs, which weights it changes, and the rate of each step."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import PreTrainedModel

from tasks.modeling.initialization.adapters import choose_trainable
from tasks.runtime.seeding import derive_seed
from tasks.training.optimization.config import EmbeddingUpdates, TrainingConfig
from tasks.training.optimization.row_updates import RowAdamW


def prepare_weights(backbone: PreTrainedModel, config: TrainingConfig, *, seed: int) -> None:
    """Make the weights of an encoder ready to be trained as `config` says.

    Before a checkpoint is loaded and the optimizer is built: low-rank updates are weights too.

    Args:
        seed: of the run; low-rank updates are drawn from a stream of their own.
    """
    torch.manual_seed(derive_seed(seed, "adapters"))
    choose_trainable(
        backbone,
        config.trainable,
        lora=config.lora,
        num_layers=config.num_trainable_layers,
    )
    prepare_embeddings(backbone.get_input_embeddings(), config.embeddings)


def prepare_embeddings(embeddings: nn.Module, updates: EmbeddingUpdates) -> None:
    """Make the token embeddings of a model ready for `updates`, before its optimizer is built."""
    assert isinstance(embeddings, nn.Embedding)
    embeddings.requires_grad_(updates != "frozen")
    embeddings.sparse = updates == "rows"


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Fused AdamW over the trainable weights; biases and norms (1-D weights) are not decayed.

    Embeddings prepared for updates by rows get them (see `row_updates`).

    References: Loshchilov & Hutter 2019, arXiv:1711.05101.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trainable if parameter.ndim > 1]
    plain = [parameter for parameter in trainable if parameter.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return RowAdamW(groups, lr=config.learning_rate, betas=(0.9, config.adam_beta2), fused=True)


def learning_rate(step: int, *, total_steps: int, config: TrainingConfig) -> float:
    """Rate of step `step` (0-based): linear warm-up from near 0 to the peak, then decay to 0."""
    warmup = round(config.warmup_share * total_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate * (1 - progress)
