"""What a step of an encoder-decoder minimises: the sum of weighted terms over target tokens.

Each term is a mean over the target tokens of the step: a divergence of the teacher's distribution
and the student's, or the cross-entropy with the target text. In a step on the student's own texts
(see `on_policy`) only the divergences count, for what the student wrote is no label; their weights
are scaled up to the sum of all, so that such a step counts as much as any other.

Shapes: B batch, L length, N target tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.modeling.encoder_decoder.config import DecodingConfig
from tasks.modeling.encoder_decoder.network import Seq2SeqNetwork, output_projection
from tasks.training.batching.batches import Step
from tasks.training.losses import IGNORE_INDEX
from tasks.training.objectives.config import SoftenedTerm
from tasks.training.optimization.schedules import value_at
from tasks.training.sequences.examples import Seq2SeqBatch
from tasks.training.sequences.losses import SettledTerm, token_pulls, token_terms
from tasks.training.sequences.objective_config import TokenTerm
from tasks.training.sequences.on_policy import is_on_policy, student_labels
from tasks.training.sequences.token_signals import ask_teacher
from tasks.training.sequences.vocabulary_chunks import Terms, over_vocabulary


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
    """The weighted sum of loss terms over tokens.

    Args:
        network: the one that is trained: its output matrix makes logits of states.
        vocab_size: tokens that are scored; rows of the output matrix beyond them are left out.
        loss_terms: what is added up; see `sequence_objective_config`.
        label_smoothing: share of the target mass spread over all tokens.
        on_policy: if some steps are on the student's own texts.
        is_told: whether the history tells weights, temperatures and shares.
        total_steps: planned for the training: what schedules run over.
    """

    network: Seq2SeqNetwork
    vocab_size: int
    loss_terms: tuple[TokenTerm, ...]
    label_smoothing: float = 0.0
    on_policy: OnPolicy | None = None
    is_told: bool = False
    total_steps: int = 1

    def terms(
        self, forward: Callable[..., Tensor], batch: Seq2SeqBatch, step: Step
    ) -> dict[str, Tensor]:
        """`loss` and `loss_<name>` of each term in one pass, nats a target token of the step.

        A step on the student's own texts has the divergences alone.
        """
        now, count = self._settled(step.number), float(step.num_examples)
        if self.on_policy is not None and (own := _divergences_alone(now)):
            number = step.number
            if is_on_policy(self.on_policy.share, seed=self.on_policy.seed, step=number):
                batch = self._own_texts(self.on_policy, batch, number)
                # A mean over what was written in this pass, which counts by its rows.
                written = float((batch.labels_BL != IGNORE_INDEX).sum())
                now, count = own, written * len(step.rows) / len(batch.labels_BL)
        states_ND = forward(batch.source, batch.labels_BL)
        return self._over_tokens(token_terms, now, states_ND, batch, count)

    def pulls(
        self, forward: Callable[..., Tensor], batch: Seq2SeqBatch, step: Step
    ) -> dict[str, Tensor]:
        """How much each term pulls at the logits of one pass: `pull_<name>`, in squares.

        Squared L2 norms of weighted gradients, which passes of a step add up. Given texts only: the
        student's own are another draw each time. No network is run backward.
        """
        with torch.no_grad():
            states_ND = forward(batch.source, batch.labels_BL)
            now, count = self._settled(step.number), float(step.num_examples)
            found = self._over_tokens(token_pulls, now, states_ND, batch, count)
        return {name: value for name, value in found.items() if name != "loss"}

    def to(self, device: torch.device) -> Seq2SeqObjective:
        """The same with its teacher on `device`; the network is put there by the loop."""
        if self.on_policy is None:
            return self
        teacher = self.on_policy.teacher.to(device)  # pyright: ignore[reportArgumentType]
        return replace(self, on_policy=replace(self.on_policy, teacher=teacher))

    def over(self, total_steps: int) -> Seq2SeqObjective:
        """The same with its schedules spread over the planned steps."""
        return replace(self, total_steps=total_steps)

    def settings(self, step: int) -> dict[str, float]:
        """`weight_<name>` and `temperature_<name>` of each term at a step, if they are told."""
        found: dict[str, float] = {}
        for term, now in zip(self.loss_terms, self._settled(step), strict=True):
            found[f"weight_{now.title}"] = now.weight
            if isinstance(term, SoftenedTerm):
                found[f"temperature_{now.title}"] = now.temperature
        return found if self.is_told else {}

    def _settled(self, step: int) -> tuple[SettledTerm, ...]:
        """The terms with the weights and temperatures of a step."""
        return tuple(
            SettledTerm(
                term.title,
                term.kind,
                value_at(term.weight, step, total_steps=self.total_steps),
                value_at(getattr(term, "temperature", 1.0), step, total_steps=self.total_steps),
                term.parameters(),
            )
            for term in self.loss_terms
        )

    def _over_tokens(
        self,
        terms: Terms,
        now: Sequence[SettledTerm],
        states_ND: Tensor,
        batch: Seq2SeqBatch,
        count: float,
    ) -> dict[str, Tensor]:
        """Sums of `terms` over the target tokens of a pass."""
        matrix_VD, bias_V = output_projection(self.network.model)
        labels_N = batch.labels_BL[batch.labels_BL != IGNORE_INDEX]
        from_teacher = batch.from_teacher
        return over_vocabulary(
            lambda logits_NV, *per_token: terms(
                logits_NV,
                *per_token,
                terms=now,
                label_smoothing=self.label_smoothing,
                num_tokens=count,
                num_taught=count,
            ),
            states_ND,
            matrix_VD[: self.vocab_size],
            None if bias_V is None else bias_V[: self.vocab_size],
            (
                labels_N,
                None if from_teacher is None else from_teacher.ids_NK,
                None if from_teacher is None else from_teacher.log_probs_NK,
                None if from_teacher is None else from_teacher.tail_N,
                torch.ones_like(labels_N, dtype=torch.bool),
            ),
        )

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
        from_teacher = ask_teacher(
            on_policy.teacher,
            source,
            mask_BL,
            labels_BL,
            k=min(on_policy.k, self.vocab_size),
            vocab_size=self.vocab_size,
        )
        return Seq2SeqBatch(batch.source, labels_BL, from_teacher)


def _divergences_alone(terms: Sequence[SettledTerm]) -> tuple[SettledTerm, ...]:
    """`terms` without cross-entropy, with the same sum of weights; none if none has a weight."""
    whole = sum(term.weight for term in terms)
    kept = sum(term.weight for term in terms if term.kind != "hard")
    if not kept:
        return ()
    return tuple(
        replace(term, weight=term.weight / kept * whole) for term in terms if term.kind != "hard"
    )
