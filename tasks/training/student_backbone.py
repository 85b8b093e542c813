"""The encoder that a student starts from, whoever asks for it.

adapted                      an encoder of that architecture that has read unlabelled text
architecture: pretrained     layers of the fine-tuned teacher, or of a model by its URI
architecture: random         a shape
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from data_contracts.artifacts import Artifact
from tasks.corpus.tables import read_table
from tasks.modeling.backbones import build_student_backbone, load_backbone
from tasks.modeling.classifier import EncoderWithHead
from tasks.modeling.config import Architecture, PretrainedArchitecture, StaticArchitecture
from tasks.modeling.low_rank import factorize
from tasks.modeling.static_embeddings import build_static_backbone, start_from
from tasks.modeling.student_init import copy_backbone
from tasks.runtime.locations import local_folder
from tasks.training.batching.examples import count_tokens
from tasks.training.batching.passes import pad
from tasks.training.batching.ragged import RaggedIds
from tasks.training.fitting import read_token_facts

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
            pad_token_id=facts.pad_token_id,
            max_length_tokens=facts.max_length_tokens,
        )
        if architecture.low_rank is None:
            return backbone
        texts = _texts_among(tokens, read_roles, pad_token_id=facts.pad_token_id)
        return factorize(backbone, architecture.low_rank, texts)
    sizes = {
        "vocab_size": facts.vocab_size,
        "pad_token_id": facts.pad_token_id,
        "max_length_tokens": facts.max_length_tokens,
    }
    if not isinstance(architecture, StaticArchitecture):
        return build_student_backbone(architecture, **sizes)
    backbone = build_static_backbone(architecture, **sizes)
    if architecture.model:
        start_from(
            backbone,
            _model_folder(architecture, inputs),
            tokenizer=tokenizer,
            counts_V=count_tokens(tokens, read_roles, vocab_size=facts.vocab_size),
        )
    return backbone


def copy_teachers_head(
    model: EncoderWithHead, architecture: Architecture, inputs: Mapping[str, Artifact]
) -> None:
    """Give a student of low rank, cut out of its teacher, the teacher's head, if it fits.

    Its states are close to the teacher's from the start; a head that is drawn would make it unlearn
    them until the head has learned what the teacher's knows.
    """
    starts_close = isinstance(architecture, PretrainedArchitecture) and architecture.low_rank
    if not starts_close or not architecture.copies_teacher or "adapted" in inputs:
        return
    weights = load_file(inputs["teacher"].path / "model" / "head.safetensors")
    if weights["weight"].shape == model.head.weight.shape:
        model.head.load_state_dict(weights)


def _texts_among(
    tokens: Path, roles: Sequence[str], *, pad_token_id: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Some texts of `roles`, evenly spaced: ids and mask, padded, a few texts at once."""
    paths = [path for role in roles for path in sorted((tokens / role).glob("*.parquet"))]
    column = pa.chunked_array(
        [chunk for path in paths for chunk in read_table(path, ["input_ids"])["input_ids"].chunks]
    )
    input_ids = RaggedIds.from_arrow(column)
    wanted = max(1, len(input_ids) * _FACTORIZED_TOKENS // max(1, len(input_ids.values)))
    rows = np.unique(np.linspace(0, len(input_ids) - 1, wanted).astype(np.int64))
    for start in range(0, len(rows), _TEXTS_AT_ONCE):
        yield pad(input_ids, rows[start : start + _TEXTS_AT_ONCE], pad_token_id=pad_token_id)


def _model_folder(architecture: Architecture, inputs: Mapping[str, Artifact]) -> Path:
    """The model that the student starts from: this run's teacher, or the one that is named."""
    if architecture.copies_teacher:
        return inputs["teacher"].path / "model"
    assert architecture.weights_from, "a model is named unless it is the teacher"
    return local_folder(architecture.weights_from)
