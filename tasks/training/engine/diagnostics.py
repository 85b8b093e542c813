"""What goes wrong in a distillation without an error, measured cheaply and told with its cause.

    at each validation   share of each loss term in the gradient (at the logits; in the text vectors
                         below an adversary; in the weights, if layers are compared, whatever else
                         there is); likeness of text vectors
    once, before         the teacher's certainty; how many tokens the student reads for its one

The figures go into history.json (beside the validation's) and the artifact's facts; a warning is
said once and names the likely cause (tasks.comparison.sections.learning finds it again for the
report, by the functions here). Thresholds are rules of thumb: a reason to look, no verdict.

References: Hinton et al. 2015, arXiv:1503.02531 (soft targets say something only where the teacher
    doubts); Rust et al. 2021, arXiv:2012.15613 (fertility).
Shapes: A answers, C classes, B texts, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from data_contracts.artifacts import Artifact
from tasks.corpus.tables import part_paths, read_table
from tasks.corpus.tokens.facts import TOKEN_FACTS, read_token_facts
from tasks.metrics.calibration import entropy, top_probabilities
from tasks.modeling.evaluation_mode import evaluation_mode
from tasks.modeling.texts import moved
from tasks.runtime.seeding import generator
from tasks.training.batching.batches import Rows, Step, make_step
from tasks.training.batching.examples import Batch, Examples
from tasks.training.batching.layouts import Layout
from tasks.training.objectives.gradient_shares import SharedPull
from tasks.training.objectives.objective import Objective, compared
from tasks.training.optimization.config import TrainingConfig

_PROBED_TEXTS = 32  # a forward pass of 64, padded, cost a student of sib200 7 % of its training
_LONGEST_A_PASS = 8  # and more of the shorter ones
_ASKED_ANSWERS = 4096
# Of the cosine of two texts' vectors. Encoders point all vectors into one cone: 0.9 is common.
_COLLAPSED = 0.99
# Of the teacher's entropy in that of an even guess, at the temperature of the loss.
_SATURATED = 0.005
# Tokens a text, student over teacher: the same sentence in two languages differs by less.
_FERTILE = 2.0
# Loss of mean confidence from validation to transfer rows.
_OFF_DOMAIN = 0.15


@dataclass
class Findings:
    """Figures by name, and what they are likely to mean."""

    figures: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Take over those of another."""
        self.figures |= other.figures
        self.warnings += other.warnings


class TrainingProbe:
    """Looks into a student at a validation, by a fixed draw of its texts.

    Args:
        examples: what it is trained on.
        objective: what it minimises.
        config: of the training.
        pad_token_id: of its tokenizer.
        planned_steps: that schedules run over.
        seed: of the draw.
        beside: `objective` with the terms of layers, average or adversary, if there are any: their
            shares are told, too.
    """

    def __init__(
        self,
        examples: Examples,
        objective: Objective,
        config: TrainingConfig,
        *,
        pad_token_id: int,
        planned_steps: int,
        seed: int,
        beside: SharedPull | None = None,
    ) -> None:
        """Draw the texts."""
        # What compares texts, or the units of one, reads them together.
        at_once = beside is not None or examples.units is not None
        self._step = probed_step(examples, pad_token_id=pad_token_id, seed=seed, at_once=at_once)
        self._objective = objective.over(planned_steps)
        self._beside = None if beside is None else beside.over(planned_steps)
        self._is_bf16 = config.precision == "bf16"

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """`share_<term>` (if there are several terms) and `embedding_cosine` after `step` steps.

        Args:
            model: the network in training, with a `head`; left in its mode.
        """
        device = next(model.parameters()).device
        vectors: list[Tensor] = []
        head: Any = model.head
        hook = head.register_forward_pre_hook(lambda _, inputs: vectors.append(inputs[0].detach()))
        try:
            with evaluation_mode(model):
                passes = [moved(batch, device) for batch in self._step.passes]
                shares = self._shares(model, passes, replace(self._step, number=step))
        finally:
            hook.remove()
        vectors_BD = torch.cat([vector.flatten(0, -2).float() for vector in vectors])
        found = {name: float(share) for name, share in shares.items()}
        return {**found, "embedding_cosine": mean_cosine(vectors_BD)}

    def _shares(self, model: nn.Module, passes: list[Batch], step: Step) -> dict[str, Tensor]:
        """Of the texts, which are read here in any case; nothing of a single term."""
        device = passes[0].labels_A.device
        with torch.autocast(device.type, torch.bfloat16, self._is_bf16):
            # Weights that are spread over processes are whole in the network's own forward alone.
            if self._beside is not None and not is_sharded(model):
                (batch,) = passes
                return self._beside.to(device).gradient_shares(model, batch, step)
            with torch.no_grad():
                read = [compared(model(batch.texts), batch) for batch in passes]
        objective = self._objective.to(device)
        if len(objective.loss_terms) < 2:
            return {}
        logits, labels, said = zip(*read, strict=True)
        return objective.gradient_shares(
            torch.cat(logits),
            torch.cat(labels),
            None if said[0] is None else torch.cat(said),
            num_examples=step.num_examples,
            num_labelled=step.num_labelled,
            step=step.number,
        )


def probed_step(examples: Rows, *, pad_token_id: int, seed: int, at_once: bool = True) -> Step:
    """A fixed draw of padded rows, the same for the same seed.

    Args:
        at_once: in one pass; otherwise texts of similar length share one, which padded to the
            longest of all were twice the tokens.
    """
    # Distinct numbers without a permutation of all rows, which may be millions.
    draws = generator(seed, "probe").integers(len(examples), size=_PROBED_TEXTS)
    rows = np.unique(draws)
    longest = int(examples.input_ids.lengths[rows].max())
    # Padded in either case: terms over tokens read no other layout.
    whole = Layout("padded", len(rows) * longest)
    layout = whole if at_once else Layout("bucketed", _LONGEST_A_PASS * longest)
    return make_step(examples, rows, layout=layout, pad_token_id=pad_token_id)


def is_sharded(model: nn.Module) -> bool:
    """Whether the network's weights are spread over processes."""
    return any(isinstance(weight, DTensor) for weight in model.parameters())


def mean_cosine(vectors_BD: Tensor) -> float:
    """Mean cosine of all pairs of different vectors; 1 if all point the same way."""
    count = len(vectors_BD)
    if count < 2:
        return 0.0
    unit_BD = torch.nn.functional.normalize(vectors_BD.double(), dim=-1)
    # |sum of unit vectors|^2 holds each pair twice, and each vector with itself once.
    return float((unit_BD.sum(0).square().sum() - count) / (count * (count - 1)))


def collapsed(validations: Sequence[dict[str, float]], best_step: int) -> Findings:
    """Whether the texts of the delivered student have come to share one vector."""
    best = next(entry for entry in validations if entry["step"] == best_step)
    cosine = best.get("embedding_cosine", 0.0)
    found = Findings({"embedding_cosine": round(cosine, 4)})
    if cosine > _COLLAPSED:
        found.warnings.append(
            f"the student's texts have nearly one vector (mean cosine {cosine:.4f}): collapsed; "
            "lower learning_rate or the weight of terms without labels, or raise warmup_share"
        )
    return found


def teacher_certainty(examples: Examples, objective: Objective) -> Findings:
    """Whether the teacher's distributions say more than its decisions do."""
    settings = objective.settings(0)
    temperatures = [value for name, value in settings.items() if name.startswith("temperature_")]
    if examples.teacher_logits is None or examples.distribution != "classes" or not temperatures:
        return Findings()
    return saturation(examples.teacher_logits, temperatures[0])


def saturation(logits_AC: np.ndarray, temperature: float) -> Findings:
    """The teacher's entropy, as a share of that of an even guess; a warning if it is near 0.

    Args:
        logits_AC: of the teacher; up to 4,096 answers, evenly spread, are looked at.
        temperature: of the loss that compares them with the student's.
    """
    logits = np.asarray(logits_AC[evenly_spread(len(logits_AC))], dtype=np.float64)
    nats = float(entropy(logits / temperature).mean())
    share = nats / float(np.log(logits.shape[1]))
    found = Findings({"teacher_entropy_share": round(share, 4)})
    if share < _SATURATED:
        found.warnings.append(
            f"the teacher is saturated: at temperature {temperature:g} its entropy is {nats:.4f} "
            f"nats, {100 * share:.2f} % of an even guess, so soft targets say no more than hard "
            "labels; raise the temperature, or fine-tune the teacher for fewer epochs"
        )
    return found


def evenly_spread(available: int) -> np.ndarray:
    """Positions, ascending, of the answers that are looked at: 4,096 of `available`, or all."""
    return np.unique(np.linspace(0, available - 1, min(available, _ASKED_ANSWERS)).astype(np.int64))


def teacher_domain(signals: Path, roles: Sequence[str]) -> Findings:
    """Whether the teacher knows the texts to learn from as it knows its validation rows.

    Args:
        signals: folder of teacher signals with one list of class logits a text.
        roles: that the student is trained on.
    """
    known = _confidence(signals, ["validation"])
    asked = _confidence(signals, [role for role in roles if role == "transfer"])
    if known is None or asked is None:
        return Findings()
    figures = {
        "teacher_confidence_transfer": round(asked, 4),
        "teacher_confidence_validation": round(known, 4),
    }
    found = Findings(figures)
    if known - asked > _OFF_DOMAIN:
        found.warnings.append(
            f"the teacher is sure of validation rows ({known:.2f} on average) but not of transfer "
            f"rows ({asked:.2f}): they are likely of another domain or language than it was "
            "fine-tuned on; give it some, adapt it, or choose other transfer texts"
        )
    return found


def fertility(tokens: Path, teacher_tokens: Path, roles: Sequence[str]) -> Findings:
    """Whether the student reads far more tokens for the same texts than its teacher.

    Args:
        tokens, teacher_tokens: folders of the tokens of both readers.
        roles: that the student is trained on.
    """
    counts = [_tokens_a_text(folder, roles) for folder in (tokens, teacher_tokens)]
    if None in counts:
        return Findings()
    student, teacher = (count or 0.0 for count in counts)
    ratio = student / teacher
    found = Findings({"tokens_over_teacher": round(ratio, 3)})
    if ratio > _FERTILE:
        found.warnings.append(
            f"the student reads {student:.1f} tokens a text, the teacher {teacher:.1f} for the "
            "same: its vocabulary falls to pieces on these texts, and each token costs time; raise "
            "vocab_size, lower min_frequency, or take a tokenizer of this language"
        )
    return found


def diagnose_reading(
    tokens: Artifact, signals: Artifact | None, roles: Sequence[str], *, artifacts: Path
) -> Findings:
    """What can be said of the texts before the first step.

    Args:
        artifacts: folder of all artifacts: the teacher's tokens are found by the signals' lineage,
            and left out if they are gone.
    """
    found = Findings()
    if signals is None:
        return found
    found.add(teacher_domain(signals.path, roles))
    teacher_tokens = artifacts / "tokens" / signals.manifest.upstream_keys.get("tokens", "")
    if (teacher_tokens / TOKEN_FACTS).is_file():
        found.add(fertility(tokens.path, teacher_tokens, roles))
    return found


def _confidence(signals: Path, roles: Sequence[str]) -> float | None:
    """Mean top probability of rows of `roles`, or None: no rows, or no class logits a text."""
    paths = part_paths(signals, roles)
    sums, count = 0.0, 0
    for path in paths:
        table = read_table(path)
        if count >= _ASKED_ANSWERS:
            break
        if "logits" not in table.column_names or "num_units" in table.column_names:
            return None
        if not len(table):
            continue
        values = table["logits"].combine_chunks().flatten()
        logits = np.asarray(values, dtype=np.float64).reshape(len(table), -1)
        _, confidence = top_probabilities(logits)
        sums, count = sums + float(confidence.sum()), count + len(confidence)
    return sums / count if count else None


def _tokens_a_text(tokens: Path, roles: Sequence[str]) -> float | None:
    facts = read_token_facts(tokens)
    num_rows = sum(facts["num_rows"].get(role, 0) for role in roles)
    num_tokens = sum(facts["num_tokens"].get(role, 0) for role in roles)
    return num_tokens / num_rows if num_rows and num_tokens else None
