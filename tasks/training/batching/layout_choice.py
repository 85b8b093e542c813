"""Which layout is fastest for a model where it lies.

    training    CUDA  packed, by the kernel that suits the lengths   CPU  a stream, if padding costs
    scoring     CUDA  packed                                         CPU  sorted, in padded passes

Packing needs an encoder that reads packed texts as it reads padded ones; that is not taken from its
signature but shown on a few real texts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from tasks.modeling.attention.packed_attention import choose_kernel
from tasks.modeling.evaluation_mode import evaluation_mode
from tasks.modeling.heads.units import Units
from tasks.modeling.texts import PackedKernel, moved
from tasks.runtime.machine.device import max_tokens_per_pass
from tasks.training.batching.batches import epoch_order
from tasks.training.batching.layouts import (
    Layout,
    packed_layout,
    padded_layout,
    round_up,
    scoring_layout,
    stream_layout,
)
from tasks.training.batching.passes import make_passes
from tasks.training.batching.ragged import RaggedIds

_PROBED_TEXTS = 6
# Twice that for scoring, which keeps no activations for a backward pass.
_CUDA_SCORING_TOKENS = 131072
# Padding a step from which a stream pays on a CPU, whose texts have to be gathered for attention:
# forward and backward of 32 texts on one core, padded and as a stream, the least of 12:
#     2 x 192, 259 tokens, 17 of padding     8.5    8.5 ms
#     4 x 384, 1,007 tokens, 108 of padding  174    157 ms
_SAVED_TOKENS = 32
_LOOKED_AT_ROWS = 1 << 16


def for_training(
    model: nn.Module,
    input_ids: RaggedIds,
    *,
    batch_size: int,
    grouped: bool,
    pad_token_id: int,
    precision: str,
    compiled: bool,
) -> Layout:
    """The fastest layout for training where `model` lies; padded if it cannot pack."""
    lengths = input_ids.lengths
    if not _packs(model, input_ids, pad_token_id=pad_token_id):
        return padded_layout(grouped=grouped)
    if not _is_on_gpu(model):
        saved = padding_a_step(lengths, batch_size=batch_size, grouped=grouped)
        # Texts of a pair are padded to each other, too, where they are read apart.
        if saved < _SAVED_TOKENS and getattr(model, "pairs", "together") == "together":
            return padded_layout(grouped=grouped)
        return stream_layout(lengths, batch_size=batch_size, grouped=grouped)
    kind, width = _kernel(
        lengths,
        model,
        attention_dropout=_attention_dropout(model),
        precision=precision,
        compiled=compiled,
    )
    return packed_layout(kind, lengths, batch_size=batch_size, grouped=grouped, width=width)


def for_inference(
    model: nn.Module,
    input_ids: RaggedIds,
    *,
    pass_tokens: int,
    pad_token_id: int,
    precision: str,
    compiled: bool,
    max_length_tokens: int = 0,
) -> Layout:
    """The fastest layout for scoring all of `input_ids` where `model` lies.

    Args:
        pass_tokens: positions of a pass at most on a CPU; a GPU starts from what keeps it busy.
        max_length_tokens: if other calls follow, no text of theirs or of this one is longer: a
            longest text of each call's own would be another compiled graph each time.
    """
    if not (_is_on_gpu(model) and _packs(model, input_ids, pad_token_id=pad_token_id)):
        return Layout("bucketed", min(pass_tokens, max_tokens_per_pass() or pass_tokens))
    lengths = input_ids.lengths
    kind, width = _kernel(
        lengths, model, attention_dropout=0.0, precision=precision, compiled=compiled
    )
    bound = max_tokens_per_pass() or _CUDA_SCORING_TOKENS
    layout = scoring_layout(kind, lengths, width=width, pass_tokens=bound)
    return replace(layout, longest=max(layout.longest, max_length_tokens))


def padding_a_step(lengths: np.ndarray, *, batch_size: int, grouped: bool) -> float:
    """Tokens by which a step grows when its texts are padded to the longest; a mean.

    Args:
        lengths: tokens of each row; of many, the first 65,536 are looked at.
        grouped: whether texts of similar length share a step.
    """
    lengths = lengths[:_LOOKED_AT_ROWS]
    order = epoch_order(lengths, batch_size=batch_size, seed=0, epoch=0, grouped=grouped)
    steps = [lengths[rows] for rows in order]
    return float(np.mean([len(step) * int(step.max()) - int(step.sum()) for step in steps]))


def _packs(model: nn.Module, input_ids: RaggedIds, *, pad_token_id: int) -> bool:
    """Whether `model` is shown to read packed texts as it reads padded ones.

    An encoder may use absolute columns in ways that no signature tells.
    """
    lengths = input_ids.lengths
    if not getattr(model, "can_pack", False):
        return False
    return bool(len(lengths) and lengths.min() >= 1) and reads_packed_texts(
        model, input_ids, pad_token_id=pad_token_id
    )


def _is_on_gpu(model: nn.Module) -> bool:
    return next(model.parameters()).device.type == "cuda"


@torch.no_grad()
def reads_packed_texts(model: nn.Module, input_ids: RaggedIds, *, pad_token_id: int) -> bool:
    """Whether the shortest texts among the first get the same logits packed as padded, in fp32.

    Packed as they would be where `model` lies: in rows on a GPU, in a stream on a CPU.
    """
    head = np.arange(min(len(input_ids), _PROBED_TEXTS * 8))
    rows = head[np.argsort(input_ids.lengths[head], kind="stable")][:_PROBED_TEXTS]
    device = next(model.parameters()).device
    lengths = input_ids.lengths[rows]
    if _is_on_gpu(model):
        width = round_up(int(lengths.max()) * 2, 8)
        packed = scoring_layout("rows", lengths, width=width, pass_tokens=1 << 20)
    else:
        packed = Layout("varlen", int(lengths.sum()), granule=1, longest=int(lengths.max()))
    # A head over units reads the first token of each text here; one over texts does not look.
    num_texts = len(input_ids)
    units = Units(np.arange(num_texts + 1), np.zeros(num_texts, dtype=np.int32))
    with evaluation_mode(model):
        found = []
        for layout in (Layout("padded", 0), packed):
            passes = make_passes(input_ids, rows, layout, pad_token_id=pad_token_id, units=units)
            for one in passes:
                logits = model(moved(one.texts, device))[: len(rows)].float()
                found.append(logits[torch.from_numpy(np.argsort(one.members)).to(device)])
    # Rounding is below 1e-5 of the largest logit; a position off, or a neighbour seen, far above.
    return bool((found[0] - found[1]).abs().max() <= 1e-3 * found[0].abs().max())


def _kernel(lengths: np.ndarray, model: nn.Module, **facts: Any) -> tuple[PackedKernel, int]:
    config = cast(Any, model).backbone.config
    return choose_kernel(
        mean_length=float(lengths.mean()),
        longest=int(lengths.max()),
        head_size=config.hidden_size // config.num_attention_heads,
        **facts,
    )


def _attention_dropout(model: nn.Module) -> float:
    """Its name differs by family: BERT's and RoBERTa's, then DistilBERT's and ModernBERT's."""
    config = cast(Any, model).backbone.config
    for name in ("attention_probs_dropout_prob", "attention_dropout"):
        if (value := getattr(config, name, None)) is not None:
            return float(value)
    return 0.0
