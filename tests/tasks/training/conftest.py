"""A toy problem small enough to learn in a second: the class is the text's first ordinary token."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import BertConfig, BertModel

from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.training.batching.examples import Examples
from tasks.training.batching.ragged import RaggedIds

NUM_CLASSES = 3


def make_examples(rows=60, seed=0, teacher=True):
    """Texts [CLS] class-token filler... of 3 to 9 tokens; the teacher is sure of the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, NUM_CLASSES, rows)
    texts = [[2, 4 + label, *rng.integers(10, 30, rng.integers(1, 8)).tolist()] for label in labels]
    offsets = np.cumsum([0] + [len(text) for text in texts]).astype(np.int64)
    values = np.array([i for text in texts for i in text], dtype=np.int32)
    return Examples(
        example_ids=pa.chunked_array([[f"{row:04d}" for row in range(rows)]]),
        input_ids=RaggedIds(values, offsets),
        labels=labels.astype(np.int64),
        teacher_logits=(4.0 * np.eye(NUM_CLASSES, dtype=np.float32)[labels]) if teacher else None,
        label_names=tuple("abc"),
        teacher_choices=labels.astype(np.int64) if teacher else None,
    )


def make_model(seed=0, dropout=0.1):
    """A 2-layer, 16-wide encoder."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, type_vocab_size=1,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    backbone = BertModel(config, add_pooling_layer=False)
    return EncoderClassifier(backbone, num_labels=NUM_CLASSES, pooling="mean", dropout=dropout)


@pytest.fixture
def toy():
    """The toy problem's makers, without importing across test files."""
    return {"examples": make_examples, "model": make_model}
