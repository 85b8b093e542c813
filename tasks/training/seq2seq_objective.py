"""What a step of an encoder-decoder minimises: alpha · T² · KL(teacher || student) + the rest CE.

Both are means over the target tokens of the step. In a step on the student's own texts (see
`on_policy`) only the divergence counts: what the student wrote is no label.

Shapes: B batch, L length, N target tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.modeling.seq2seq import Seq2SeqNetwork, output_projection
from tasks.modeling.seq2seq_config import DecodingConfig
from tasks.training.batches import Step
from tasks.training.losses import IGNORE_INDEX
from tasks.training.on_policy import is_on_policy, student_labels
from tasks.training.seq2seq_examples import Seq2SeqBatch
from tasks.training.sequence_losses import over_vocabulary, token_terms
from tasks.training.token_signals import ask_teacher


@dataclass(frozen=True)
class OnPolicy:
    """How often, and how, a student learns from texts of its own.

    Args:
        share: of the steps, in [0, 1]: the lambda of generalized knowledge distillation.
        teacher: asked about every token that the student writes; it reads the student's tokens.
        decoding: lengths of the texts that the student writes.
        temperature: of the student's samples.
        k: likeliest tokens of the teacher that count one by one.
        seed: of the draws.
    """

    share: float
    teacher: PreTrainedModel
    decoding: DecodingConfig
    temperature: float
    k: int
    seed: int


@dataclass(frozen=True)
class Seq2SeqObjective:
    """The weighted sum of word-level distillation and cross-entropy.

    Args:
        network: the one that is trained: its output matrix makes logits of states.
        vocab_size: tokens that are scored; rows of the output matrix beyond them are left out.
        alpha: weight of the teacher's distributions, in [0, 1].
        temperature: softening of both distributions, > 0.
        label_smoothing: share of the target mass spread over all tokens.
        on_policy: if some steps are on the student's own texts.
    """

    network: Seq2SeqNetwork
    vocab_size: int
    alpha: float
    temperature: float = 1.0
    label_smoothing: float = 0.0
    on_policy: OnPolicy | None = None

    def terms(
        self, forward: Callable[..., Tensor], batch: Seq2SeqBatch, step: Step
    ) -> dict[str, Tensor]:
        """`loss`, `loss_kd` and `loss_hard` of one pass, nats a target token of the step."""
        alpha, count = self.alpha, float(step.num_examples)
        if self.on_policy is not None:
            number = step.number
            if is_on_policy(self.on_policy.share, seed=self.on_policy.seed, step=number):
                batch = self._own_texts(self.on_policy, batch, number)
                # A mean over what was written in this pass, which counts by its rows.
                written = float((batch.labels_BL != IGNORE_INDEX).sum())
                alpha, count = 1.0, written * len(step.rows) / len(batch.labels_BL)
        matrix_VD, bias_V = output_projection(self.network.model)
        states_ND = forward(batch.source, batch.labels_BL)
        labels_N = batch.labels_BL[batch.labels_BL != IGNORE_INDEX]
        taught = batch.taught
        found = over_vocabulary(
            lambda logits_NV, *per_token: token_terms(
                logits_NV,
                *per_token,
                alpha=alpha,
                temperature=self.temperature,
                label_smoothing=self.label_smoothing,
                num_tokens=count,
                num_taught=count,
            ),
            states_ND,
            matrix_VD[: self.vocab_size],
            None if bias_V is None else bias_V[: self.vocab_size],
            (
                labels_N,
                None if taught is None else taught.ids_NK,
                None if taught is None else taught.log_probs_NK,
                None if taught is None else taught.tail_N,
                torch.ones_like(labels_N, dtype=torch.bool),
            ),
        )
        return found

    def to(self, device: torch.device) -> Seq2SeqObjective:
        """The same with its teacher on `device`; the network is put there by the loop."""
        if self.on_policy is None:
            return self
        teacher = self.on_policy.teacher.to(device)  # pyright: ignore[reportArgumentType]
        return replace(self, on_policy=replace(self.on_policy, teacher=teacher))

    def over(self, total_steps: int) -> Seq2SeqObjective:
        """Itself: it has no schedule."""
        del total_steps
        return self

    def settings(self, step: int) -> dict[str, float]:
        """Nothing that changes with the steps."""
        del step
        return {}

    def _own_texts(self, on_policy: OnPolicy, batch: Seq2SeqBatch, number: int) -> Seq2SeqBatch:
        source, mask_BL = batch.source.input_ids, batch.source.attention_mask_BL
        assert mask_BL is not None, "an encoder-decoder reads padded texts"
        labels_BL = student_labels(
            self.network.model,
            source,
            mask_BL,
            on_policy.decoding,
            temperature=on_policy.temperature,
            seed=on_policy.seed,
            step=number,
            vocab_size=self.vocab_size,
        )
        taught = ask_teacher(
            on_policy.teacher,
            source,
            mask_BL,
            labels_BL,
            k=min(on_policy.k, self.vocab_size),
            vocab_size=self.vocab_size,
        )
        return Seq2SeqBatch(batch.source, labels_BL, taught)
