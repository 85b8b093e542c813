"""Static students: a vector a token, their mean, and nothing else; started from a model."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from data_contracts.errors import RecipeError
from tasks.modeling.backbones.static_embeddings import (
    build_static_backbone,
    principal_components,
    sif_weights,
    start_from,
)
from tasks.modeling.config import StaticArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier
from tasks.problems import load_model
from tasks.serving.export.onnx_export import export_onnx, predict_onnx
from tasks.serving.export.quantization import quantize_int8

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(16))]
SHAPE = StaticArchitecture(init="static", hidden_size=8)


def static(seed=0):
    torch.manual_seed(seed)
    return build_static_backbone(SHAPE, vocab_size=20, pad_token_id=0, max_length_tokens=12)


def classifier():
    return EncoderClassifier(static(), num_labels=3, pooling="mean", dropout=0.0).eval()


def test_a_text_is_the_mean_of_its_vectors():
    """A norm that takes each vector's length away, or positions that nobody asked for."""
    model = classifier()
    with torch.no_grad():
        model.backbone.embeddings.word_embeddings.weight[5] *= 30  # a token that weighs more
    table = model.backbone.embeddings.word_embeddings.weight.double()
    ids = torch.tensor([[5, 9, 4, 0, 0], [7, 7, 3, 9, 11]])
    mask = (ids != 0).long()
    rows = [[5, 9, 4], [7, 7, 3, 9, 11]]
    centred = table - table.mean(1, keepdim=True)
    texts = torch.stack([centred[row].mean(0) for row in rows])
    expected = texts @ model.head.weight.double().T + model.head.bias.double()
    torch.testing.assert_close(model(ids, mask).double(), expected, rtol=1e-4, atol=1e-5)


def test_training_moves_vectors_and_nothing_that_is_fixed():
    """Positions learned by chance, so that a word means another thing in another place."""
    model = classifier().train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model(torch.tensor([[5, 9, 4]]), torch.ones(1, 3, dtype=torch.long)).sum().backward()
    optimizer.step()
    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"backbone.embeddings.word_embeddings.weight", "head.weight", "head.bias"}


def test_it_is_saved_loaded_and_exported_as_any_student(tmp_path):
    """The fastest student, and no way to deliver it."""
    model = classifier()
    save_classifier(model, tmp_path, problem="text_classification")
    loaded = load_model(tmp_path)
    texts = [np.array([5, 9, 4]), np.array([7, 7, 3, 9, 11]), np.array([1])]
    expected = torch.cat([
        model(torch.from_numpy(text)[None], torch.ones(1, len(text), dtype=torch.long))
        for text in texts
    ]).detach()  # fmt: skip
    found = torch.cat([
        loaded(torch.from_numpy(text)[None], torch.ones(1, len(text), dtype=torch.long))
        for text in texts
    ])  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    graph = export_onnx(loaded)
    logits = predict_onnx(graph, texts, pad_token_id=0)
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)
    int8 = predict_onnx(quantize_int8(graph, embeddings=True), texts, pad_token_id=0)
    np.testing.assert_allclose(int8, expected.numpy(), atol=0.02)


def test_components_are_those_of_a_singular_value_decomposition():
    """The last components instead of the first: noise."""
    states = torch.randn(40, 6, generator=torch.Generator().manual_seed(1)) * torch.arange(1, 7)
    found = principal_components(states, 3).double().numpy()
    centred = states.double().numpy() - states.double().numpy().mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :3] * sizes[:3]
    expected /= np.sqrt((expected**2).mean())
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-6)
    assert (found**2).mean() == pytest.approx(1)


def test_frequent_tokens_weigh_little():
    """A text whose vector is mostly its full stops."""
    counts = np.array([0, 1, 9_990, 9])
    weights = sif_weights(counts)
    shares = np.array([1, 1, 9_990, 9]) / 10_001  # what was never seen counts as seen once
    np.testing.assert_allclose(weights, 1e-4 / (1e-4 + shares), rtol=1e-5)
    assert weights[2] < weights[3] < weights[1]


@pytest.fixture
def teacher(tmp_path):
    """A folder with an encoder of 12 dimensions and its tokenizer."""
    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=20, hidden_size=12, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=12,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_vectors_start_from_what_the_model_makes_of_each_token_alone(teacher, tmp_path):
    """Vectors of other tokens than their own: a start that is worse than a random one."""
    kept = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "w9", "w2", "w15", "w4", "w7", "w0", "w11", "w12"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(kept)}, unk_token="[UNK]"))
    tokenizer.save(str(tmp_path / "student.json"))
    backbone = build_static_backbone(SHAPE, vocab_size=12, pad_token_id=0, max_length_tokens=12)
    counts = np.full(12, 5)
    start_from(backbone, teacher, tokenizer=tmp_path / "student.json", counts_V=counts)
    vectors = backbone.embeddings.word_embeddings.weight.detach().double()

    model = BertModel.from_pretrained(teacher, add_pooling_layer=False).eval()
    alone = torch.stack([
        model(torch.tensor([[2, WORDS.index(word), 3]])).last_hidden_state[0, 1] for word in kept
    ]).detach()  # fmt: skip
    expected = principal_components(alone, 8).double()
    expected -= expected.mean(1, keepdim=True)
    expected[0] = 0
    # All tokens are equally frequent here: one weight for all.
    ratio = 1e-4 / (1e-4 + 1 / 12)
    torch.testing.assert_close(vectors, expected * ratio, rtol=1e-3, atol=1e-7)
    wide = build_static_backbone(
        SHAPE.model_copy(update={"hidden_size": 16}),
        vocab_size=12, pad_token_id=0, max_length_tokens=12,
    )  # fmt: skip
    with pytest.raises(RecipeError, match="have 12 dimensions"):
        start_from(wide, teacher, tokenizer=tmp_path / "student.json", counts_V=counts)
