"""The encoder that a student starts from, whoever asks for it.

adapted                      an encoder of that architecture that has read unlabelled text
architecture: pretrained     layers of the fine-tuned teacher, or of a model by its URI
architecture: random         a shape
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedModel

from data_contracts.artifacts import Artifact
from tasks.modeling.backbones import build_student_backbone, load_backbone
from tasks.modeling.config import Architecture, PretrainedArchitecture
from tasks.modeling.student_init import copy_backbone
from tasks.runtime.locations import local_folder
from tasks.training.fitting import read_token_facts


def student_backbone(
    architecture: Architecture, tokens: Path, inputs: Mapping[str, Artifact]
) -> PreTrainedModel:
    """The untrained student's encoder; a shape is filled from torch's current random state.

    Args:
        tokens: folder of the tokens artifact, with the student's tokenizer.
        inputs: `teacher` if the student starts from its layers; `adapted` goes before all others.
    """
    if "adapted" in inputs:
        return load_backbone(inputs["adapted"].path / "model")
    facts = read_token_facts(tokens)
    if isinstance(architecture, PretrainedArchitecture):
        return copy_backbone(
            inputs["teacher"].path / "model"
            if architecture.copies_teacher
            else local_folder(architecture.model),
            architecture,
            tokenizer=tokens / "tokenizer" / "tokenizer.json",
            pad_token_id=facts.pad_token_id,
            max_length_tokens=facts.max_length_tokens,
        )
    return build_student_backbone(
        architecture,
        vocab_size=facts.vocab_size,
        pad_token_id=facts.pad_token_id,
        max_length_tokens=facts.max_length_tokens,
    )
