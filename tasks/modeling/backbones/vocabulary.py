"""Embeddings follow their tokens: rows of a pretrained model for another tokenizer's ids.

    model's tokenizer    ▁the 70   灯 3412   ▁Haus 9114       250,002 rows
    student's tokenizer            灯   57                      4,800 rows
    row 57 of the student = row 3412 of the model

Rows are joined by the token's spelling, never by a list of positions that might belong to another
model; a token that the model does not have is an error. In a small multilingual encoder most
weights are embeddings (multilingual-e5-small: 96 of 118 million), and most of those are of
languages that the student never reads.

Shapes: V vocabulary, D width.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from data_contracts.errors import RecipeError, SourceError
from tasks.modeling.backbones.positions import follow_padding

_SHOWN = 3
# Entries of a model's configuration that name a token by its id.
_TOKEN_ID_FIELDS = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")


def read_vocabulary(tokenizer: Path) -> dict[str, int]:
    """Token → id of a tokenizer.json, added tokens included.

    Its JSON is read, not the tokenizer built: a fifth of the time for 250,000 tokens, which every
    student of a pretrained model waits for.

    Raises: SourceError if it is not there or cannot be read.
    """
    try:
        with _without_collector():
            content = json.loads(tokenizer.read_bytes())
            listed = content["model"]["vocab"]
            if isinstance(listed, list):  # Unigram: pairs of a token and its score
                vocabulary = {token: row for row, (token, _) in enumerate(listed)}
            else:
                vocabulary = dict(listed)
        # The tokenizer numbers new ones by their order, whatever their own ids say.
        added = dict.fromkeys(token["content"] for token in content.get("added_tokens", ()))
        new = [token for token in added if token not in vocabulary]
        return vocabulary | {token: row for row, token in enumerate(new, start=len(listed))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{tokenizer} is not a tokenizer: {error}",
            rule="a student copies embeddings by token, so the model's own tokenizer must be known",
            remedy="start from a model folder that holds a tokenizer.json",
        ) from error


@contextmanager
def _without_collector() -> Iterator[None]:
    """250,000 lists set it off again and again: three times the time, and it finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def embedding_rows(student: dict[str, int], model: dict[str, int]) -> Tensor:
    """Row of the model's embeddings for each id of the student: int64, (V,).

    Args:
        student, model: token → id of the two tokenizers.

    Raises: RecipeError if the student has a token that the model does not.
    """
    missing = sorted(student.keys() - model.keys())
    if missing:
        raise RecipeError(
            f"{len(missing):,} of the student's {len(student):,} tokens, such as "
            f"{missing[:_SHOWN]}, are no tokens of the model that it starts from",
            rule="a student that starts from a pretrained model reads with its tokenizer, whole or "
            "trimmed",
            remedy="set student.tokenizer to {kind: trimmed, uri: <the same model>}",
        )
    rows = [0] * (max(student.values()) + 1)
    for token, row in student.items():
        rows[row] = model[token]
    return torch.tensor(rows)


@torch.no_grad()
def gather_embeddings(backbone: PreTrainedModel, rows_V: Tensor, *, pad_token_id: int) -> None:
    """Replace the input embeddings of `backbone` by their rows `rows_V`, in place.

    Args:
        rows_V: int64, (V,), the old row of each new one.
        pad_token_id: of the new vocabulary.

    Raises: RecipeError if a row is not there, or the padding id moved in a model that counts
        positions from it (RoBERTa).
    """
    old = backbone.get_input_embeddings()
    assert isinstance(old, nn.Embedding)
    if int(rows_V.max()) >= old.num_embeddings:
        raise RecipeError(
            f"the tokenizer has the id {int(rows_V.max()):,}, the model {old.num_embeddings:,} "
            "embedding rows",
            rule="tokenizer and model belong together",
            remedy="name the tokenizer of the model that the student starts from",
        )
    config = backbone.config
    if follow_padding(backbone) and pad_token_id != config.pad_token_id:
        raise RecipeError(
            f"padding moved from id {config.pad_token_id} to {pad_token_id} in a "
            f"{config.model_type} model",
            rule="such models count positions from the id of the padding token",
            remedy="use the whole tokenizer (kind: pretrained) for this model",
        )
    new = nn.Embedding(len(rows_V), old.embedding_dim, padding_idx=pad_token_id)
    new.weight.copy_(old.weight[rows_V])
    backbone.set_input_embeddings(new)
    moved = {row: number for number, row in enumerate(rows_V.tolist())}
    for name in _TOKEN_ID_FIELDS:
        if isinstance(found := getattr(config, name, None), int):
            setattr(config, name, moved.get(found))
    config.vocab_size, config.pad_token_id = len(rows_V), pad_token_id
