"""Learning from one's own mistakes: some steps' targets are texts that the student wrote itself.

A student trained on given texts only never sees the prefixes that it produces when it writes alone.
With probability lambda a step drops its targets, samples others from the student as it is, asks the
teacher about every token of them and learns the answers (no label is right or wrong there, so such
a step has no hard loss).

Which steps, and what is drawn, follow from the seed and the step (its number, or a name made of its
rows), so a resumed run draws the same.

References: Agarwal et al. 2024, arXiv:2306.13649, algorithm 1 (generalized knowledge distillation).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.modeling.encoder_decoder.config import DecodingConfig
from tasks.modeling.encoder_decoder.decoding import sample
from tasks.modeling.evaluation_mode import evaluation_mode
from tasks.runtime.seeding import derive_seed, generator
from tasks.training.losses import IGNORE_INDEX


def is_on_policy(share: float, *, seed: int, step: int | str) -> bool:
    """Whether step `step` learns from the student's own texts: a coin of probability `share`."""
    return bool(generator(seed, "on-policy", step).random() < share)


def student_labels(
    student: PreTrainedModel,
    input_ids_BL: Tensor,
    attention_mask_BL: Tensor,
    decoding: DecodingConfig,
    *,
    temperature: float,
    seed: int,
    step: int | str,
    vocab_size: int | None = None,
) -> Tensor:
    """Texts that the student writes for these sources, as labels.

    The student is in evaluation mode while it writes; its own mode is restored.

    Returns: int64, (B, L) on the student's device, IGNORE_INDEX after each end.
    """
    rng = torch.Generator(device=input_ids_BL.device)
    rng.manual_seed(derive_seed(seed, "student-texts", step))
    with evaluation_mode(student):
        found = sample(
            student,
            input_ids_BL,
            attention_mask_BL,
            decoding,
            temperature=temperature,
            generator=rng,
            vocab_size=vocab_size,
        )
    longest = max(len(hypothesis.token_ids) for hypothesis in found)
    labels_BL = np.full((len(found), longest), IGNORE_INDEX, dtype=np.int64)
    for row, hypothesis in enumerate(found):
        labels_BL[row, : len(hypothesis.token_ids)] = hypothesis.token_ids
    return torch.from_numpy(labels_BL).to(input_ids_BL.device)
