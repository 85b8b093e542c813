"""Encoders of a shape: factorised embeddings save parameters and nothing of the usual path."""

import torch

from tasks.modeling.backbones import build_student_backbone
from tasks.modeling.classifier import num_parameters
from tasks.modeling.config import StudentArchitecture
from tests.tasks.delivery import check_delivery

SHAPE = StudentArchitecture(num_layers=1, hidden_size=32, num_heads=2, intermediate_size=64)


def built(shape):
    torch.manual_seed(0)
    return build_student_backbone(shape, vocab_size=500, pad_token_id=0, max_length_tokens=16)


def test_narrow_embeddings_cost_what_the_arithmetic_says():
    """A field that is read and changes nothing."""
    whole, narrow = built(SHAPE), built(SHAPE.model_copy(update={"embedding_size": 8}))
    tables = 500 + 16 + 1 + 2  # words, positions, segments, and the norm's scale and shift
    saved = tables * (32 - 8) - (8 * 32 + 32)
    assert num_parameters(whole) - num_parameters(narrow) == saved


def test_a_student_of_narrow_embeddings_packs_saves_loads_and_exports(tmp_path):
    """Half the size, and no way to deliver it."""
    check_delivery(built(SHAPE.model_copy(update={"embedding_size": 8})), tmp_path)
