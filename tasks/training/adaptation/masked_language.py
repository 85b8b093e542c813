"""Masked language modelling in the training loop: objective, scores, and from texts to a folder.

    fit_language: train on texts, choose the step by texts held out, write
        model/ (encoder, tokenizer)   history.json   training.json

Shapes: U hidden tokens, V candidates, E width of the embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from data_contracts.artifacts import StageSummary
from tasks.corpus.tokens.facts import read_token_facts
from tasks.modeling.backbones.encoder import save_backbone
from tasks.modeling.evaluation_mode import evaluation_mode
from tasks.modeling.heads.classifier import num_parameters
from tasks.modeling.heads.masked_language_model import MaskedLanguageModel, load_head
from tasks.modeling.initialization.adapters import merge_adapters
from tasks.modeling.texts import moved
from tasks.runtime.machine.device import resolve_precision
from tasks.runtime.stages import Workspace
from tasks.training.adaptation.masked_texts import MaskedBatch, MaskedTexts
from tasks.training.batching.batches import Step
from tasks.training.batching.layouts import Layout
from tasks.training.engine.loop import train
from tasks.training.engine.precision_probe import precision_facts
from tasks.training.fitting.fit import copy_tokenizer, write_record
from tasks.training.losses import hard_label_loss
from tasks.training.optimization.adamw import prepare_weights
from tasks.training.optimization.config import TrainingConfig
from tasks.training.sequences.vocabulary_chunks import over_vocabulary

_SCORED_TOKENS = 16384


def fit_language(
    backbone: PreTrainedModel,
    learned: MaskedTexts,
    held_out: MaskedTexts,
    config: TrainingConfig,
    *,
    pretrained_head: Path | None,
    tokens: Path,
    seed: int,
    workspace: Workspace,
) -> StageSummary:
    """Let `backbone` read the texts `learned` and write its folder into `workspace.output`.

    Args:
        held_out: texts whose hidden words, the same each time, choose the step, unless
            `config.selection` is last.
        pretrained_head: model folder that may hold the head it was pretrained with.
        tokens: directory of the tokens artifact: its tokenizer.
    """
    if config.selection == "auto":
        config = config.model_copy(update={"selection": "loss"})
    pad_token_id = read_token_facts(tokens)["pad_token_id"]
    precision = resolve_precision(config.precision)
    measured = precision_facts(precision, workspace.progress)
    model = MaskedLanguageModel(
        backbone, torch.from_numpy(learned.masking.candidates.astype(np.int64))
    )
    has_head = pretrained_head is not None and load_head(model, pretrained_head)
    prepare_weights(backbone, config, seed=seed)
    before = score(model, held_out, pad_token_id=pad_token_id, precision=precision)
    result = train(
        model,
        learned,
        MaskedLanguageObjective(),
        config,
        pad_token_id=pad_token_id,
        validate=partial(score, texts=held_out, pad_token_id=pad_token_id, precision=precision),
        seed=seed,
        work=workspace.work,
        progress=workspace.progress,
    )
    merge_adapters(backbone)
    folder = workspace.output / "model"
    save_backbone(backbone, folder)
    copy_tokenizer(tokens, folder)
    write_record(
        workspace.output,
        result,
        num_parameters=num_parameters(backbone),
        num_examples=len(learned),
        precision=precision,
        seed=seed,
    )
    state = result.state
    best = state.best_validation
    return StageSummary(
        facts={
            "perplexity_before": round(before["perplexity"], 2),
            "perplexity": round(best["perplexity"], 2),
            "hidden_words_told": round(best["accuracy"], 4),
            "rows": len(learned),
            "candidates": len(learned.masking.candidates),
            "pretrained_head": has_head,
            "steps": state.step,
            "train_seconds": state.train_seconds,
            **measured,
            **result.layout.facts(),
            "threads": result.num_threads,
        }
    )


@dataclass(frozen=True)
class MaskedLanguageObjective:
    """Mean cross-entropy of the hidden tokens of a step, in nats a token."""

    def terms(
        self, forward: Callable[..., Tensor], batch: MaskedBatch, step: Step
    ) -> dict[str, Tensor]:
        """`loss`, and `accuracy` of the hidden tokens; each a share of the whole step's."""
        return _terms(forward(batch.texts), batch.labels_U, normalizer=step.num_labelled)

    def to(self, device: torch.device) -> MaskedLanguageObjective:
        """Itself: it holds nothing."""
        del device
        return self

    def over(self, total_steps: int) -> MaskedLanguageObjective:
        """Itself: it has no schedule."""
        del total_steps
        return self

    def settings(self, step: int) -> dict[str, float]:
        """Nothing: it has no settings."""
        del step
        return {}


def _terms(rows: Tensor, labels_U: Tensor, *, normalizer: int) -> dict[str, Tensor]:
    num_hidden = len(labels_U)
    return over_vocabulary(
        partial(_told, normalizer=normalizer),
        rows[:num_hidden],
        rows[num_hidden:],
        None,
        (labels_U,),
    )


def _told(logits_UV: Tensor, labels_U: Tensor, *, normalizer: int) -> dict[str, Tensor]:
    right = (logits_UV.argmax(-1) == labels_U).sum() / normalizer
    return {
        "loss": hard_label_loss(logits_UV, labels_U, normalizer=normalizer),
        "accuracy": right.detach(),
    }


@torch.no_grad()
def score(
    model: nn.Module, texts: MaskedTexts, *, pad_token_id: int, precision: str
) -> dict[str, float]:
    """How well `model` tells the hidden tokens of `texts`, under the masks of their step.

    Returns: `loss` in nats a token, `perplexity` = exp(loss), `accuracy` in [0, 1].
    """
    device = next(model.parameters()).device
    rows = np.arange(len(texts))
    _, num_hidden = texts.normalizers(rows)
    sums = {"loss": 0.0, "accuracy": 0.0}
    layout = Layout("bucketed", _SCORED_TOKENS)
    with evaluation_mode(model):
        for batch in texts.batches(rows, layout, pad_token_id=pad_token_id):
            there = moved(batch, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                found = _terms(model(there.texts), there.labels_U, normalizer=num_hidden)
            for name in sums:
                sums[name] += float(found[name])
    return {**sums, "perplexity": math.exp(min(sums["loss"], 700.0))}
