"""Encoder + masked language modelling head: what reads on in another language or domain.

    states of hidden tokens (U, D) → dense, GELU, norm (U, E) → · embeddingsᵀ + bias → logits (U, V)

The output matrix is the input embeddings themselves, and only the rows of tokens that occur in the
texts: one that never occurs would only be pushed away, at a price. Of 250,037 rows Chinese reviews
use some 9,000, and the product with them is the larger part of a small encoder's step. The head is
dropped when the encoder has read enough.

References: Devlin et al. 2019, arXiv:1810.04805, section 3.1; Press & Wolf 2017, arXiv:1608.05859
    (tied embeddings).
Shapes: U hidden tokens, D width of the states, E of the embeddings, V candidates.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.modeling.attention.packed_attention import encoder_inputs, first_position, install
from tasks.modeling.texts import Texts

_INIT_STD = 0.02  # BertConfig.initializer_range
# Where encoders that were trained this way keep dense layer and norm: BERT's names, RoBERTa's.
_PRETRAINED_HEADS = (
    ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"),
    ("lm_head.dense", "lm_head.layer_norm"),
)


class MaskedLanguageModel(nn.Module):
    """States of hidden tokens, and what they are compared with.

    Args:
        backbone: an encoder returning `last_hidden_state` (B, L, D).
        candidates_V: int64, ids of the tokens among which each hidden one is told.
    """

    def __init__(self, backbone: PreTrainedModel, candidates_V: Tensor) -> None:
        """Put a freshly drawn head on `backbone`."""
        super().__init__()
        self.backbone = backbone
        embeddings = backbone.get_input_embeddings()
        assert isinstance(embeddings, nn.Embedding)
        self.dense = nn.Linear(backbone.config.hidden_size, embeddings.embedding_dim)
        nn.init.normal_(self.dense.weight, std=_INIT_STD)
        nn.init.zeros_(self.dense.bias)
        self.norm = nn.LayerNorm(embeddings.embedding_dim)
        self.bias_V = nn.Parameter(torch.zeros(len(candidates_V)))
        self.register_buffer("candidates_V", candidates_V, persistent=False)
        self.can_pack = install(backbone)
        self.first_position = first_position(backbone)

    def forward(self, texts: Texts) -> Tensor:
        """Rows of the tokens in `texts.read_out_U`, then of the candidates: (U + V, E + 1).

        The product of the former with the latter are the logits: a last column of ones meets one of
        biases. One tensor, because what shards weights over processes looks at what a network
        returns, and they exist whole only while it runs.
        """
        inputs = encoder_inputs(texts, first_position=self.first_position)
        states = self.backbone(**inputs).last_hidden_state.flatten(0, 1)
        assert texts.read_out_U is not None, "masked texts say which tokens are hidden"
        states_UE = self.norm(
            nn.functional.gelu(self.dense(states.index_select(0, texts.read_out_U)))
        )
        rows_VE = self.backbone.get_input_embeddings()(self.candidates_V)
        ones_U1 = states_UE.new_ones(len(states_UE), 1)
        return torch.cat(
            [
                torch.cat([states_UE, ones_U1], 1).float(),
                torch.cat([rows_VE.float(), self.bias_V[:, None]], 1),
            ]
        )


def load_head(model: MaskedLanguageModel, folder: Path) -> bool:
    """Take dense layer and norm from an encoder saved with its head; whether there was one.

    Most encoders for sentences have lost theirs: the head is then learned anew, in some hundred
    steps.
    """
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            names = set(stored.keys())
            for dense, norm in _PRETRAINED_HEADS:
                wanted = {
                    f"{source}.{part}": (layer, part)
                    for source, layer in ((dense, model.dense), (norm, model.norm))
                    for part in ("weight", "bias")
                }
                if not wanted.keys() <= names:
                    continue
                with torch.no_grad():
                    for name, (layer, part) in wanted.items():
                        getattr(layer, part).copy_(stored.get_tensor(name))
                return True
    return False
