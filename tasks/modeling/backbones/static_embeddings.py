"""A vector a token and their mean: the fastest student, as an encoder that AutoModel reads.

    "turn the light on"  →  v(turn) + v(the) + v(light) + v(on)  / 4  →  linear head

It is a BERT without layers, so it is saved, loaded, exported and served as any other student. Its
norm is made the identity (an epsilon so large that the variance vanishes beside it, and a scale
that undoes the division), or it would take away a vector's length, which is its token's weight.
What stays of it is the mean over dimensions, which is taken off each vector. Positions and segments
are zero and stay so.

Vectors may start from a model: the state of each token read alone, as [CLS] token [SEP]; the first
principal components of these; and a / (a + p) for a token with the share p of all tokens, so that
those found everywhere weigh little.

References: Tulkens and van Dongen 2024, github.com/MinishLab/model2vec; Arora et al. 2017 (SIF,
    a = 1e-4 there from 1e-3 to 1e-4).
Shapes: V vocabulary, D width, H the model's width, B batch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from data_contracts.errors import RecipeError, SourceError
from tasks.modeling.backbones.encoder import load_backbone
from tasks.modeling.backbones.vocabulary import embedding_rows, read_vocabulary
from tasks.modeling.config import StaticArchitecture

_EPSILON = 1e6  # the variance of a vector is around 1: six digits below, the last of a float32
_SIF = 1e-4
_BATCH = 512


def build_static_backbone(
    shape: StaticArchitecture, *, vocab_size: int, pad_token_id: int, max_length_tokens: int
) -> BertModel:
    """An encoder without layers; vectors are drawn from torch's current random state."""
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=shape.hidden_size,
        hidden_dropout_prob=shape.dropout,
        max_position_embeddings=max_length_tokens,
        type_vocab_size=1,
        pad_token_id=pad_token_id,
        layer_norm_eps=_EPSILON,
    )
    config._attn_implementation = "sdpa"
    backbone = BertModel(config, add_pooling_layer=False)
    embeddings = backbone.embeddings
    with torch.no_grad():
        for fixed in (embeddings.position_embeddings, embeddings.token_type_embeddings):
            fixed.weight.zero_()
            fixed.weight.requires_grad_(False)
        embeddings.LayerNorm.weight.fill_(_EPSILON**0.5)
    embeddings.LayerNorm.requires_grad_(False)
    return backbone


def start_from(backbone: BertModel, folder: Path, *, tokenizer: Path, counts_V: np.ndarray) -> None:
    """Give the vectors of `backbone` the values that the model in `folder` has for its tokens.

    Args:
        tokenizer: the student's tokenizer.json; each of its tokens is one of the model's.
        counts_V: how often each token occurs in the texts to learn from.
    Raises: RecipeError if tokens are not the model's, or its states are narrower than the vectors.
    """
    model, student = (read_vocabulary(path) for path in (folder / "tokenizer.json", tokenizer))
    rows_V = embedding_rows(student, model)
    states_VH = _states_alone(folder, rows_V)
    table = backbone.embeddings.word_embeddings.weight
    if table.shape[1] > states_VH.shape[1]:
        raise RecipeError(
            f"student.architecture.hidden_size is {table.shape[1]}, the states of the model that "
            f"vectors start from have {states_VH.shape[1]} dimensions",
            rule="vectors are the first principal components of those states",
            remedy=f"set hidden_size to {states_VH.shape[1]} or less",
        )
    vectors_VD = principal_components(states_VH, table.shape[1])
    vectors_VD *= torch.from_numpy(sif_weights(counts_V))[:, None]
    with torch.no_grad():
        table[: len(vectors_VD)] = vectors_VD - vectors_VD.mean(1, keepdim=True)
        if backbone.config.pad_token_id is not None:
            table[backbone.config.pad_token_id].zero_()


def principal_components(states_VH: Tensor, width: int) -> Tensor:
    """The first `width` principal components of (V, H) states, (V, D), of mean square 1."""
    centred = states_VH.double() - states_VH.double().mean(0)
    # Of the covariance, (H, H): V may be a quarter of a million.
    _, directions = torch.linalg.eigh(centred.T @ centred)
    found = centred @ directions.flip(1)[:, :width]
    # A direction's sign is arbitrary: the one whose largest weight is positive, on any machine.
    largest = directions.flip(1)[:, :width].abs().argmax(0)
    signs = directions.flip(1)[largest, torch.arange(width)].sign()
    found *= signs
    return (found / found.square().mean().sqrt().clamp(min=1e-12)).float()


def sif_weights(counts_V: np.ndarray) -> np.ndarray:
    """a / (a + p) for tokens of share p, (V,) float32; one never seen counts as seen once."""
    seen = np.maximum(counts_V.astype(np.float64), 1.0)
    return (_SIF / (_SIF + seen / seen.sum())).astype(np.float32)


@torch.no_grad()
def _states_alone(folder: Path, rows_V: Tensor) -> Tensor:
    """(V, H): the last state of each of the model's tokens `rows_V`, read between its own marks."""
    import tokenizers

    marks = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode("").ids
    if len(marks) != 2:
        raise SourceError(
            f"the tokenizer in {folder} puts {len(marks)} special tokens around a text",
            rule="vectors start from encoders that read a text between two, [CLS] and [SEP]",
            remedy="start from another encoder, or leave out student.architecture.model",
        )
    backbone = load_backbone(folder).eval()
    states = []
    for rows_B in rows_V.split(_BATCH):
        first, last = (torch.full_like(rows_B, mark) for mark in marks)
        input_ids = torch.stack([first, rows_B, last], dim=1)
        outputs = backbone(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
        states.append(outputs.last_hidden_state[:, 1])
    return torch.cat(states)


__all__ = ["build_static_backbone", "principal_components", "sif_weights", "start_from"]
