"""Asking a teacher about each token of given texts: the same answer stored or online.

    source, target ids → decoder states of the valid tokens (N, D) → k likeliest tokens and the tail

Offline the answer goes through `topk_signals` into Parquet; online, when a student learns from what
it wrote itself, it goes straight into the loss.

Shapes: B batch, L length, N valid tokens (row after row), D width, V vocabulary, K = k.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from tasks.modeling.encoder_decoder.network import decoder_states, output_projection
from tasks.modeling.evaluation_mode import evaluation_mode
from tasks.training.losses import IGNORE_INDEX
from tasks.training.losses.topk import SparseTargets
from tasks.training.sequences.topk_signals import TopK

_CHUNK_LOGITS = 1 << 22


def ask_teacher(
    teacher: PreTrainedModel,
    input_ids_BL: Tensor,
    attention_mask_BL: Tensor,
    labels_BL: Tensor,
    *,
    k: int,
    vocab_size: int,
) -> SparseTargets:
    """The teacher's distribution over each valid token of `labels_BL`, row after row.

    The teacher is put into evaluation mode for the call and takes no gradient.

    Args:
        labels_BL: int64, target ids, IGNORE_INDEX where there is none.
        k: likeliest tokens kept, at most `vocab_size`.
        vocab_size: real tokens; rows of the output matrix beyond them are left out.
    """
    with evaluation_mode(teacher), torch.no_grad():
        valid_BL = labels_BL != IGNORE_INDEX
        filled_BL = labels_BL.masked_fill(~valid_BL, int(teacher.config.pad_token_id))
        states_BLD = decoder_states(teacher, input_ids_BL, attention_mask_BL, filled_BL)
        matrix_VD, bias_V = output_projection(teacher)
        return likeliest(
            states_BLD[valid_BL],
            matrix_VD[:vocab_size],
            None if bias_V is None else bias_V[:vocab_size],
            k=k,
        )


def likeliest(
    states_ND: Tensor, matrix_VD: Tensor, bias_V: Tensor | None, *, k: int
) -> SparseTargets:
    """The k likeliest tokens of each state and the log-probability of all others together.

    Raises: ValueError if k is not in [1, V].
    """
    size = len(matrix_VD)
    if not 1 <= k <= size:
        raise ValueError(f"k is {k}: it must be in [1, {size}], the number of tokens scored")
    chunk = max(1, _CHUNK_LOGITS // size)
    parts = [
        _likeliest(F.linear(states_ND[start : start + chunk], matrix_VD, bias_V).float(), k)
        for start in range(0, max(1, len(states_ND)), chunk)
    ]
    ids, log_probs, tails = (torch.cat(part) for part in zip(*parts, strict=True))
    return SparseTargets(ids, log_probs, tails)


def _likeliest(logits_NV: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    partition_N1 = logits_NV.logsumexp(-1, keepdim=True)
    best_NK, ids_NK = logits_NV.topk(k, dim=-1)
    if k == logits_NV.shape[1]:
        tail_N = torch.full_like(partition_N1[:, 0], -torch.inf)
    else:
        # Not 1 minus the sum: in float32 that would be noise where the teacher is sure.
        others_NV = logits_NV.scatter(1, ids_NK, -torch.inf)
        tail_N = others_NV.logsumexp(-1) - partition_N1[:, 0]
    return ids_NK, best_NK - partition_N1, tail_N


def to_topk(targets: SparseTargets) -> TopK:
    """The same on the host, to be encoded."""
    return TopK(
        targets.ids_NK.to("cpu", torch.int32).numpy(),
        targets.log_probs_NK.float().cpu().numpy(),
        targets.tail_N.float().cpu().numpy(),
    )


def from_topk(signals: TopK) -> SparseTargets:
    """Decoded signals as tensors on the CPU."""
    return SparseTargets(
        torch.from_numpy(signals.ids_NK).long(),
        torch.from_numpy(signals.log_probs_NK),
        torch.from_numpy(signals.tail_N),
    )
