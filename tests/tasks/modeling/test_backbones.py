"""Encoders of a shape: factorised embeddings save parameters and nothing of the usual path."""

import json

import pytest
import torch

from data_contracts.errors import SourceError
from tasks.modeling.backbones import build_student_backbone, load_backbone, save_backbone
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


@pytest.mark.parametrize("config", ['{"hidden_size": 32}', '{"model_type": "nonesuch"}', "{"])
def test_a_model_that_cannot_be_told_is_the_source_s_fault(tmp_path, config):
    """A traceback of transformers', an hour into a run, for a file that was cut short."""
    save_backbone(built(SHAPE), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"
    load_backbone(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(SourceError, match=r"config\.json describes no model") as refused:
        load_backbone(tmp_path)
    assert "model_type" in refused.value.rule
