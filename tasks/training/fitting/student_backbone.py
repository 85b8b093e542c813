"""The encoder that a student starts from, whoever asks for it.

adapted                      an encoder of that architecture that has read unlabelled text
architecture: pretrained     layers of the fine-tuned teacher, or of a model by its URI; with
                             low_rank as products that are close to them on texts of each language
architecture: random         a shape
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from data_contracts.artifacts import Artifact
from tasks.corpus.tables import part_paths, read_table
from tasks.corpus.tokens.facts import read_token_facts
from tasks.modeling.backbones.encoder import build_student_backbone, load_backbone
from tasks.modeling.backbones.known_shape import known_shape
from tasks.modeling.backbones.low_rank import factorize
from tasks.modeling.backbones.static_embeddings import build_static_backbone, start_from
from tasks.modeling.config import Architecture, PretrainedArchitecture, StaticArchitecture
from tasks.modeling.heads.classifier import EncoderWithHead
from tasks.modeling.initialization.layers import copy_backbone
from tasks.runtime.files.locations import local_folder
from tasks.training.batching.examples import count_tokens, no_rows
from tasks.training.batching.passes import pad
from tasks.training.batching.ragged import RaggedIds

pc: Any = pyarrow.compute

# Ten for each of the 1,536 inputs that the widest matrix of a small encoder has.
_FACTORIZED_TOKENS = 16384
_TEXTS_AT_ONCE = 16


def student_backbone(
    architecture: Architecture,
    tokens: Path,
    inputs: Mapping[str, Artifact],
    *,
    read_roles: Sequence[str] = ("transfer",),
) -> PreTrainedModel:
    """The untrained student's encoder; what is drawn is drawn from torch's current random state.

    Args:
        tokens: folder of the tokens artifact, with the student's tokenizer.
        inputs: `teacher` if the student starts from its layers; `adapted` goes before all others.
        read_roles: rows whose tokens are counted where a static student weighs them, and for whose
            texts a student of low rank stays close to its model.
    """
    if "adapted" in inputs:
        return load_backbone(inputs["adapted"].path / "model")
    facts = read_token_facts(tokens)
    tokenizer = tokens / "tokenizer" / "tokenizer.json"
    if isinstance(architecture, PretrainedArchitecture):
        backbone = copy_backbone(
            _model_folder(architecture, inputs),
            architecture,
            tokenizer=tokenizer,
            pad_token_id=facts["pad_token_id"],
            max_length_tokens=facts["max_length_tokens"],
        )
        if architecture.low_rank is None:
            return backbone
        texts = _texts_among(tokens, read_roles, pad_token_id=facts["pad_token_id"])
        return factorize(backbone, architecture.low_rank, texts)
    sizes = {
        "vocab_size": facts["vocab_size"],
        "pad_token_id": facts["pad_token_id"],
        "max_length_tokens": facts["max_length_tokens"],
    }
    if not isinstance(architecture, StaticArchitecture):
        return build_student_backbone(architecture, **sizes)
    backbone = build_static_backbone(architecture, **sizes)
    if architecture.model:
        start_from(
            backbone,
            _model_folder(architecture, inputs),
            tokenizer=tokenizer,
            counts_V=count_tokens(tokens, read_roles, vocab_size=facts["vocab_size"]),
        )
    return backbone


def copy_teachers_head(
    model: EncoderWithHead, architecture: Architecture, inputs: Mapping[str, Artifact]
) -> None:
    """Give a student that is its teacher in products the teacher's head, if it fits.

    Its states are close to the teacher's from the start; a head that is drawn would make it unlearn
    them until the head has learned what the teacher's knows. It does not fit a student of fewer
    layers, of another pooling or reading of pairs, or one that was adapted.
    """
    is_product = isinstance(architecture, PretrainedArchitecture) and architecture.low_rank
    if not is_product or not architecture.copies_teacher or "adapted" in inputs:
        return
    folder = inputs["teacher"].path / "model"
    shape = known_shape(str(folder))
    head = json.loads((folder / "head.json").read_text(encoding="utf-8"))
    theirs = (shape and shape.num_layers, head["pooling"], head.get("pairs", "together"))
    if theirs == (model.backbone.config.num_hidden_layers, model.pooling, model.pairs):
        weights = load_file(folder / "head.safetensors")
        if weights["weight"].shape == model.head.weight.shape:
            model.head.load_state_dict(weights)


def _texts_among(
    tokens: Path, roles: Sequence[str], *, pad_token_id: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Some texts of `roles`, of each language as many tokens: ids and mask, a few texts at once.

    Rows are evenly spaced over those of a language; parts are read one after the other.

    Raises: ContractViolation if there are none.
    """
    paths = part_paths(tokens, roles)
    num_rows, num_tokens = Counter[str](), Counter[str]()
    for path in paths:
        table = read_table(path, ["language", "input_ids"])
        lengths = pc.list_value_length(table["input_ids"]).to_numpy()
        for language, places in _by_language(table):
            num_rows[language] += len(places)
            num_tokens[language] += int(lengths[places].sum())
    if not num_rows:
        raise no_rows(roles)
    wanted = {
        language: np.linspace(
            0, rows - 1, min(rows, 1 + rows * _FACTORIZED_TOKENS // len(num_rows) // tokens)
        ).astype(np.int64)
        for (language, rows), tokens in zip(num_rows.items(), num_tokens.values(), strict=True)
    }
    seen = Counter[str]()
    chosen: list[pa.ChunkedArray] = []
    for path in paths:
        table = read_table(path, ["language", "input_ids"])
        for language, places in _by_language(table):
            numbers = seen[language] + np.arange(len(places))
            chosen.append(table["input_ids"].take(places[np.isin(numbers, wanted[language])]))
            seen[language] += len(places)
    input_ids = RaggedIds.from_arrow(
        pa.chunked_array([chunk for column in chosen for chunk in column.chunks])
    )
    order = np.argsort(input_ids.lengths, kind="stable")
    for start in range(0, len(order), _TEXTS_AT_ONCE):
        yield pad(input_ids, order[start : start + _TEXTS_AT_ONCE], pad_token_id=pad_token_id)


def _by_language(table: pa.Table) -> Iterator[tuple[str, np.ndarray]]:
    """Each language of `table`, and its rows there."""
    languages = table["language"].to_numpy()
    for language in sorted(set(languages.tolist())):
        yield language, np.flatnonzero(languages == language)


def _model_folder(architecture: Architecture, inputs: Mapping[str, Artifact]) -> Path:
    """The model that the student starts from: this run's teacher, or the one that is named."""
    if architecture.copies_teacher:
        return inputs["teacher"].path / "model"
    assert architecture.weights_from, "a model is named unless it is the teacher"
    return local_folder(architecture.weights_from)
