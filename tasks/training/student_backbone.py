"""The encoder that a student starts from, whoever asks for it.

adapted                      an encoder of that architecture that has read unlabelled text
architecture: pretrained     layers of the fine-tuned teacher, or of a model by its URI
architecture: random         a shape
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from data_contracts.artifacts import Artifact
from tasks.modeling.backbones import build_student_backbone, load_backbone
from tasks.modeling.config import Architecture, PretrainedArchitecture, StaticArchitecture
from tasks.modeling.static_embeddings import build_static_backbone, start_from
from tasks.modeling.student_init import copy_backbone
from tasks.runtime.locations import local_folder
from tasks.training.batching.examples import count_tokens
from tasks.training.fitting import read_token_facts


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
        read_roles: rows whose tokens are counted where a static student weighs them.
    """
    if "adapted" in inputs:
        return load_backbone(inputs["adapted"].path / "model")
    facts = read_token_facts(tokens)
    tokenizer = tokens / "tokenizer" / "tokenizer.json"
    if isinstance(architecture, PretrainedArchitecture):
        return copy_backbone(
            _model_folder(architecture, inputs),
            architecture,
            tokenizer=tokenizer,
            pad_token_id=facts.pad_token_id,
            max_length_tokens=facts.max_length_tokens,
        )
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


def _model_folder(architecture: Architecture, inputs: Mapping[str, Artifact]) -> Path:
    """The model that the student starts from: this run's teacher, or the one that is named."""
    if architecture.copies_teacher:
        return inputs["teacher"].path / "model"
    assert architecture.weights_from, "a model is named unless it is the teacher"
    return local_folder(architecture.weights_from)
