"""An encoder-decoder before its first step: the same weights for the same seed, every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from tasks.modeling.encoder_decoder.config import (
    DecodingConfig,
    PretrainedSeq2Seq,
    Seq2SeqArchitecture,
)
from tasks.modeling.encoder_decoder.network import (
    build_seq2seq,
    check_tokens,
    cut_layers,
    load_seq2seq,
)
from tasks.modeling.heads.classifier import initialise
from tasks.runtime.files.locations import local_folder
from tasks.runtime.seeding import derive_seed
from tasks.training.sequences.tokens import check_own_tokenizer, read_seq2seq_tokens


def untrained_seq2seq(
    architecture: Seq2SeqArchitecture,
    *,
    tokens: Path,
    decoding: DecodingConfig,
    longest_target: int,
    seed: int,
    role: str,
    teacher: Path | None = None,
) -> PreTrainedModel:
    """The model that `architecture` describes, for the tokens that it reads.

    Args:
        tokens: directory of the tokens artifact.
        decoding: how long the texts are that it writes.
        longest_target: tokens of the longest target that it learns, is scored on or asked about.
        seed: of weights drawn at random.
        role: what to call it in messages.
        teacher: model folder of this run's teacher, if the model starts from its layers.
    Raises: RecipeError if model and tokens do not fit each other; SourceError if there is no model.
    """
    facts = read_seq2seq_tokens(tokens)
    longest = max(facts.max_length_tokens, decoding.max_length_tokens, longest_target)
    facts = replace(facts, max_length_tokens=longest)
    initialise(derive_seed(seed, "weights"))
    if not isinstance(architecture, PretrainedSeq2Seq):
        return build_seq2seq(architecture, facts)
    if architecture.copies_teacher:
        assert teacher is not None, "a student of the teacher's layers without a teacher"
        folder = teacher
    else:
        folder = local_folder(architecture.model)
    check_own_tokenizer(folder, tokens, role=role)
    model = cut_layers(load_seq2seq(folder), architecture)
    check_tokens(model, facts, role=role)
    return model
