"""Texts, networks and operation counts of the GPU benchmark."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.training.batching.examples import Examples
from tasks.training.batching.ragged import RaggedIds

NUM_CLASSES = 60


def lognormal_texts(num_texts: int, *, mean: float, longest: int, vocabulary: int) -> Examples:
    """Texts of random ids whose lengths have the profile of short messages."""
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(math.log(mean * 0.86), 0.55, num_texts)
    lengths = np.clip(drawn, 5, longest).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(5, vocabulary, offsets[-1]).astype(np.int32)
    return Examples(
        example_ids=None,  # pyright: ignore[reportArgumentType]
        input_ids=RaggedIds(ids, offsets),
        labels=rng.integers(0, NUM_CLASSES, num_texts),
        teacher_logits=rng.normal(size=(num_texts, NUM_CLASSES)).astype(np.float32),
        label_names=tuple(map(str, range(NUM_CLASSES))),
    )


def classifier(
    shape: tuple[int, int, int], *, vocabulary: int, dropout: float
) -> EncoderClassifier:
    """A classifier of (layers, width, heads) with random weights."""
    torch.manual_seed(0)
    layers, width, heads = shape
    architecture = StudentArchitecture(
        num_layers=layers,
        hidden_size=width,
        num_heads=heads,
        intermediate_size=4 * width,
        dropout=dropout,
    )
    backbone = build_student_backbone(
        architecture, vocab_size=vocabulary, pad_token_id=0, max_length_tokens=512
    )
    return EncoderClassifier(backbone, num_labels=NUM_CLASSES, pooling="mean", dropout=dropout)


def useful_flops(model: nn.Module, lengths: np.ndarray, *, factor: int) -> float:
    """Operations over all texts that padding and filler are not; `factor` 2 to read, 6 to train."""
    named = model.named_parameters()
    weights = sum(weight.numel() for name, weight in named if "embeddings" not in name)
    config: Any = model.backbone.config  # pyright: ignore[reportAttributeAccessIssue]
    squares = float((lengths.astype(np.float64) ** 2).sum())
    attention = 2 * factor * config.num_hidden_layers * config.hidden_size * squares
    return factor * weights * float(lengths.sum()) + attention
