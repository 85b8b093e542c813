"""Encoder + pooling + linear head: the network of every text classification model, big or small.

Saved as a Hugging Face folder (`AutoModel.from_pretrained` reads it) plus `head.safetensors` and
`head.json`, so that a consumer needs none of this code.

Shapes: B batch, L length, D width, C classes, S segments of packed texts.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from data_contracts.errors import SourceError
from tasks.modeling.attention import encoder_inputs, first_position, install
from tasks.modeling.backbones import load_backbone
from tasks.modeling.config import Pooling
from tasks.modeling.pooling import PACKED_POOLINGS, POOLINGS
from tasks.modeling.texts import Texts

_HEAD_INIT_STD = 0.02  # as BERT's own classifier heads (transformers, BertConfig.initializer_range)


class EncoderClassifier(nn.Module):
    """Logits of a text from its token ids.

    Args:
        backbone: an encoder returning `last_hidden_state` (B, L, D).
        num_labels: C.
        pooling: `mean` over the real tokens or the `cls` state.
        dropout: probability before the linear head.
    """

    def __init__(
        self, backbone: PreTrainedModel, *, num_labels: int, pooling: Pooling, dropout: float
    ) -> None:
        """Put a freshly drawn head on `backbone`."""
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.config.hidden_size, num_labels)
        nn.init.normal_(self.head.weight, std=_HEAD_INIT_STD)
        nn.init.zeros_(self.head.bias)
        self.can_pack = install(backbone)
        self.first_position = first_position(backbone)

    def forward(self, texts: Texts | Tensor, attention_mask_BL: Tensor | None = None) -> Tensor:
        """Logits of each text, in the order of the texts.

        Args:
            texts: in any layout; or (B, L) int64 ids, then with their mask.
            attention_mask_BL: int64, 1 for real tokens.
        Returns: float, (B, C); (S, C) if packed, of which row s < B is text s.
        """
        if isinstance(texts, Tensor):
            texts = Texts(texts, attention_mask_BL)
        hidden_states = self.backbone(
            **encoder_inputs(texts, first_position=self.first_position)
        ).last_hidden_state
        if texts.packing is not None:
            pooled = PACKED_POOLINGS[self.pooling](hidden_states, texts.packing)
        else:
            assert texts.attention_mask_BL is not None, "padded texts need their mask"
            pooled = POOLINGS[self.pooling](hidden_states, texts.attention_mask_BL)
        return self.head(self.dropout(pooled))


def save_classifier(model: EncoderClassifier, folder: Path, *, problem: str) -> None:
    """Write the model's files into `folder` (made if missing), float32 safetensors.

    Args:
        problem: what its answers mean, a key of `tasks.problems.PROBLEMS`; kept in head.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.backbone.save_pretrained(folder)
    head = {"weight": model.head.weight, "bias": model.head.bias}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.items()}
    save_file(tensors, folder / "head.safetensors")
    description = {
        "problem": problem,
        "pooling": model.pooling,
        "num_labels": model.head.out_features,
        "dropout": model.dropout.p,
    }
    text = json.dumps(description, indent=2, sort_keys=True)
    (folder / "head.json").write_text(text + "\n", encoding="utf-8")


def load_classifier(folder: Path) -> EncoderClassifier:
    """The classifier saved in `folder`, float32, on the CPU, in evaluation mode.

    Raises: SourceError if the folder holds no classifier.
    """
    try:
        head = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "head.safetensors")
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{folder} holds no classifier: {error}",
            rule="a classifier folder has head.json and head.safetensors beside the encoder",
            remedy="point to the model/ folder of a teacher, student or export artifact",
        ) from error
    model = EncoderClassifier(
        load_backbone(folder),
        num_labels=head["num_labels"],
        pooling=head["pooling"],
        dropout=head["dropout"],
    )
    model.head.load_state_dict(weights)
    return model.eval()


def num_parameters(model: nn.Module) -> int:
    """All weights of `model`, embeddings included."""
    return sum(parameter.numel() for parameter in model.parameters())


def initialise(seed: int) -> None:
    """Seed torch for the weights about to be drawn."""
    torch.manual_seed(seed)
