"""Encoders of a shape: factorised embeddings save parameters and nothing of the usual path."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AlbertConfig, AlbertForMaskedLM, MPNetConfig, MPNetModel

from data_contracts.errors import SourceError
from tasks.modeling.backbones.encoder import build_student_backbone, load_backbone, save_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import num_parameters
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


def renamed(path, rename):
    """Write the weights in `path` anew under other names; those of no name are left out."""
    kept = {rename(name): tensor for name, tensor in load_file(path).items() if rename(name)}
    save_file(kept, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("rename", "told"),
    [
        (lambda name: f"model.{name}", "lack 21 of the weights .* embeddings.LayerNorm.bias"),
        (lambda name: None if ".layer.0." in name else name, r"lack 16 of .* encoder\.layer\.0\."),
    ],
    ids=["another class of models", "a layer left out"],
)
def test_weights_that_are_not_there_are_not_drawn(tmp_path, rename, told):
    """An encoder of random numbers, others in each run, fine-tuned for a day as a pretrained one:
    transformers tells of it in a log that is switched off."""
    save_backbone(built(SHAPE), tmp_path)
    renamed(tmp_path / "model.safetensors", rename)
    with pytest.raises(SourceError, match=told):
        load_backbone(tmp_path)


def test_weights_of_another_shape_are_told_by_name(tmp_path):
    """`You set ignore_mismatched_sizes to False`, and a traceback."""
    save_backbone(built(SHAPE), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 499}))
    told = r"have in another shape 1 of the weights .* embeddings\.word_embeddings\.weight"
    with pytest.raises(SourceError, match=told):
        load_backbone(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", None],
    ids=["empty", "pointer", "cut short"],
)
def test_a_file_of_weights_that_is_none_is_the_source_s_fault(tmp_path, content):
    """A traceback of Rust's for a git clone without its large files."""
    save_backbone(built(SHAPE), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(SourceError, match="cannot be read") as refused:
        load_backbone(tmp_path)
    assert "git lfs pull" in refused.value.remedy


def test_a_pooler_is_no_loss_and_other_attention_is_told(tmp_path):
    """Half of all ALBERTs are without the pooler that we never use."""
    sizes = {"vocab_size": 20, "hidden_size": 16, "num_attention_heads": 2}
    sizes |= {"num_hidden_layers": 1, "intermediate_size": 16}
    AlbertForMaskedLM(AlbertConfig(embedding_size=8, **sizes)).save_pretrained(tmp_path / "albert")
    load_backbone(tmp_path / "albert")
    MPNetModel(MPNetConfig(**sizes)).save_pretrained(tmp_path / "mpnet")
    with pytest.raises(SourceError, match="MPNetModel does not support"):
        load_backbone(tmp_path / "mpnet")
