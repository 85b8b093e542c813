"""Encoder + pooling + linear head: the network of every model that classifies texts, big or small.

Saved as a Hugging Face folder (`AutoModel.from_pretrained` reads it, unless it is of low rank) plus
`head.safetensors` and `head.json`, so that a consumer needs none of this code.

Shapes: B batch, L length, D width, C classes, S segments of packed texts.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.modeling.attention.packed_attention import (
    Recording,
    encoder_inputs,
    first_position,
    install,
)
from tasks.modeling.backbones.encoder import save_backbone
from tasks.modeling.config import PairReading, Pooling
from tasks.modeling.heads.pooling import text_vectors
from tasks.modeling.texts import Texts

HEAD_INIT_STD = 0.02  # as BERT's own classifier heads (transformers, BertConfig.initializer_range)


class EncoderWithHead(nn.Module, ABC):
    """An encoder, dropout and a linear head: what all our networks have, and what is saved of them.

    Args:
        backbone: an encoder returning `last_hidden_state` (B, L, D).
        num_labels: C.
        pooling: `mean` over the real tokens or the `cls` state.
        dropout: probability before the linear head.
    """

    pairs: PairReading = "together"
    """How it reads the two texts of a pair, if it reads pairs at all."""

    def __init__(
        self, backbone: PreTrainedModel, *, num_labels: int, pooling: Pooling, dropout: float
    ) -> None:
        """Put a freshly drawn head on `backbone`."""
        super().__init__()
        self.backbone = backbone
        self.pooling: Pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.config.hidden_size, num_labels)
        nn.init.normal_(self.head.weight, std=HEAD_INIT_STD)
        nn.init.zeros_(self.head.bias)
        self.can_pack = install(backbone)
        self.first_position = first_position(backbone)

    def hidden_states(self, texts: Texts) -> Tensor:
        """The encoder's last states in the layout of `texts`: (B, L, D), or (R, W, D) if packed."""
        inputs = encoder_inputs(texts, first_position=self.first_position)
        return self.backbone(**inputs).last_hidden_state

    def all_hidden_states(
        self, texts: Texts, recorded: Recording | None = None
    ) -> tuple[Tensor, ...]:
        """States of the embeddings and of each layer, the last as `hidden_states` gives them.

        Args:
            recorded: gets what each layer's attention reads, if the encoder `can_pack`.
        """
        inputs = encoder_inputs(texts, first_position=self.first_position)
        if recorded is not None:
            inputs["recorded"] = recorded
        outputs = self.backbone(**inputs, output_hidden_states=True)
        # An encoder with a norm on top counts the states before it as its last layer's.
        return (*outputs.hidden_states[:-1], outputs.last_hidden_state)

    @abstractmethod
    def answers(self, states: Tensor, texts: Texts) -> Tensor:
        """Logits (A, C) from the encoder's last states, in the layout of `texts`."""


class EncoderClassifier(EncoderWithHead):
    """Logits of a text from its token ids: pooled states, dropout, linear head."""

    def forward(self, texts: Texts | Tensor, attention_mask_BL: Tensor | None = None) -> Tensor:
        """Logits of each text, in the order of the texts.

        Args:
            texts: in any layout; or (B, L) int64 ids, then with their mask.
            attention_mask_BL: int64, 1 for real tokens.
        Returns: float, (B, C); (S, C) if packed, of which row s < B is text s.
        """
        if isinstance(texts, Tensor):
            texts = Texts(texts, attention_mask_BL)
        return self.answers(self.hidden_states(texts), texts)

    def answers(self, states: Tensor, texts: Texts) -> Tensor:
        """Logits of each text: (B, C), or (S, C) if packed."""
        return self.answers_to_vectors(self.pool(states, texts))

    def answers_to_vectors(self, vectors_SD: Tensor) -> Tensor:
        """Logits (S, C) from text vectors, which companions may read, too."""
        return self.head(self.dropout(vectors_SD))

    def pooled(self, texts: Texts) -> Tensor:
        """One vector a text: (B, D), or (S, D) if packed."""
        return self.pool(self.hidden_states(texts), texts)

    def pool(self, hidden_states: Tensor, texts: Texts) -> Tensor:
        """Text vectors of any layer's states, in the layout of `texts`: (B, D), or (S, D)."""
        return text_vectors(self.pooling, hidden_states, texts)


class EncoderEmbedder(EncoderClassifier):
    """A vector of unit length for each text: pooled states, dropout, linear head, normalised.

    The head leads to the width of the vectors to be learned, `num_labels` of them; a teacher that
    is used as it is has the identity there.
    """

    def answers_to_vectors(self, vectors_SD: Tensor) -> Tensor:
        """Vectors of unit length (S, C), float32, from the pooled states."""
        return nn.functional.normalize(super().answers_to_vectors(vectors_SD).float(), dim=-1)

    def keep_pooled(self) -> None:
        """Make the head the identity: vectors are the pooled states', whatever was drawn."""
        nn.init.eye_(self.head.weight)
        nn.init.zeros_(self.head.bias)


def save_classifier(model: EncoderWithHead, folder: Path, *, problem: str) -> None:
    """Write the model's files into `folder` (made if missing), float32 safetensors.

    Args:
        problem: what its answers mean, a key of `tasks.problems.PROBLEMS`; kept in head.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_backbone(model.backbone, folder)
    head = {"weight": model.head.weight, "bias": model.head.bias}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.items()}
    save_file(tensors, folder / "head.safetensors")
    description = {
        "problem": problem,
        "pooling": model.pooling,
        "num_labels": model.head.out_features,
        "dropout": model.dropout.p,
        **({} if model.pairs == "together" else {"pairs": model.pairs}),
    }
    text = json.dumps(description, indent=2, sort_keys=True)
    (folder / "head.json").write_text(text + "\n", encoding="utf-8")


def num_parameters(model: nn.Module, *, trainable: bool = False) -> int:
    """All weights of `model`, embeddings included; or those that training may change."""
    return sum(
        weight.numel() for weight in model.parameters() if weight.requires_grad or not trainable
    )


def initialise(seed: int) -> None:
    """Seed torch for the weights about to be drawn."""
    torch.manual_seed(seed)
