"""From untrained peers to the first one's model folder: `fitting.fit` for several networks.

The step is chosen by the validation figure of the first peer, which is the student that is
delivered. Figures of the others stand beside it in the history as `peer_<k>_<figure>`; of a teacher
among the peers also how far it has drifted: `peer_<k>_drift_<figure>`, its figure less that of its
former self, and `peer_<k>_drift_kl`, mean KL(former self || now) of its answers, in nats. Of each
network the history also tells the share of every loss term in the gradient at its logits; of a
student with companions, where those are measured (`companion_objective`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data_contracts.artifacts import StageSummary
from tasks.modeling.evaluation_mode import evaluation_mode
from tasks.modeling.heads.classifier import EncoderWithHead, num_parameters
from tasks.modeling.texts import moved
from tasks.problems import PROBLEMS, Problem
from tasks.runtime.machine.device import resolve_precision
from tasks.runtime.stages import Workspace
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.build import accompanied
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.matching_config import AnyMatchingTerm
from tasks.training.batching.batches import num_steps
from tasks.training.engine.diagnostics import is_sharded, probed_step
from tasks.training.engine.loop import place, train
from tasks.training.engine.precision_probe import precision_facts
from tasks.training.fitting.fit import deliver, selection_of, write_record
from tasks.training.fitting.held_out import HeldOut
from tasks.training.mutual.objective import MutualObjective, PeerRows, Peers
from tasks.training.objectives.config import KLTerm
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.adamw import prepare_weights
from tasks.training.optimization.config import TrainingConfig


@dataclass(frozen=True)
class Peer:
    """One of the networks that teach one another.

    Args:
        model: before its first step.
        tokens: folder of its tokens artifact.
        language: of its validation rows; all that it reads if None.
        is_teacher: whether it was fine-tuned before, and may drift.
    """

    model: EncoderWithHead
    tokens: Path
    language: str | None
    is_teacher: bool


class _Probe:
    """Looks into all peers at a validation: one forward pass over a fixed draw of their rows."""

    def __init__(
        self,
        rows: PeerRows,
        objective: MutualObjective,
        config: TrainingConfig,
        *,
        precision: str,
        seed: int,
    ) -> None:
        planned = num_steps(len(rows), config.batch_size) * config.num_epochs
        self._objective = objective.over(planned)
        self._step = probed_step(rows, pad_token_id=rows.pad_token_ids[0], seed=seed)
        self._is_bf16 = precision == "bf16"

    def __call__(self, network: nn.Module, step: int) -> dict[str, float]:
        """`share_<term>`, of other peers `peer_<k>_share_<term>`, after `step` steps."""
        assert isinstance(network, Peers)
        device = next(network.parameters()).device
        (batch,) = self._step.passes
        objective = self._objective.to(device)
        # Weights that are spread over processes are whole in the network's own forward alone.
        if is_sharded(network):
            objective = objective.without_companions()
        with (
            evaluation_mode(network),
            torch.autocast(device.type, torch.bfloat16, self._is_bf16),
        ):
            shares = objective.gradient_shares(
                network, moved(batch, device), replace(self._step, number=step)
            )
        return {name: float(share) for name, share in shares.items()}


def fit_peers(
    peers: Sequence[Peer],
    rows: PeerRows,
    objective: MutualObjective,
    config: TrainingConfig,
    *,
    problem: str,
    seed: int,
    workspace: Workspace,
    adversary: AdversaryConfig | None = None,
    matching: tuple[EncoderWithHead, Sequence[AnyMatchingTerm]] | None = None,
    ema: EMAConfig | None = None,
) -> StageSummary:
    """Train `peers` together and write the first one's folder into `workspace.output`.

    Args:
        adversary, matching, ema: companions of the first peer, as in `fitting.fit`.
    Raises: ContractViolation if a peer has no labelled validation rows.
    """
    task = PROBLEMS[problem]
    config = config.model_copy(update={"selection": selection_of(task, config)})
    precision = resolve_precision(config.precision)
    measured = precision_facts(precision, workspace.progress)
    held_out = [
        HeldOut(task, peer.tokens, language=peer.language, pad_token_id=pad, precision=precision)
        for peer, pad in zip(peers, rows.pad_token_ids, strict=True)
    ]
    device = place()
    former = {
        k: own.said_by(peer.model.to(device))
        for k, (peer, own) in enumerate(zip(peers, held_out, strict=True))
        if peer.is_teacher
    }

    def validate(candidate: nn.Module) -> dict[str, float]:
        assert isinstance(candidate, Peers)
        found: dict[str, float] = {}
        for k, (model, own) in enumerate(zip(candidate.peers, held_out, strict=True)):
            logits, answers = own.said_by(model)
            scores = own.score(logits, answers)
            if k in former:
                figure = task.metrics[0]
                before, _ = former[k]
                scores[f"drift_{figure}"] = scores[figure] - own.score(before, answers)[figure]
                scores["drift_kl"] = _mean_kl(before, logits, task)
            found |= {name if k == 0 else f"peer_{k}_{name}": v for name, v in scores.items()}
        return found

    for k, peer in enumerate(peers):
        prepare_weights(peer.model.backbone, config, seed=seed + k)
    student, alone = peers[0], objective.tasks[0]
    assert isinstance(alone, Objective), "companions are given here"
    first, accompanied_task = accompanied(
        student.model,
        rows.examples[0],
        alone,
        adversary=adversary,
        matching=matching,
        ema=ema,
        seed=seed,
        trained_on=rows.places_KR[0],
    )
    objective = replace(objective, tasks=(accompanied_task, *objective.tasks[1:]))
    network = Peers([first, *(peer.model for peer in peers[1:])])
    result = train(
        network,
        rows,
        objective,
        config,
        pad_token_id=rows.pad_token_ids[0],
        validate=validate,
        seed=seed,
        work=workspace.work,
        progress=workspace.progress,
        probe=_Probe(rows, objective, config, precision=precision, seed=seed),
    )
    num_trained = sum(num_parameters(peer.model, trainable=True) for peer in peers)
    deliver(student.model, workspace.output, task, student.tokens, held_out[0])
    state = result.state
    best = state.best_validation
    others = {
        name: round(value, 4)
        for name, value in best.items()
        if name.startswith("peer_") and "_share_" not in name  # the history tells these
    }
    write_record(
        workspace.output,
        result,
        num_parameters=num_parameters(student.model),
        num_examples=len(rows),
        precision=precision,
        seed=seed,
        peers=others,
    )
    shown = (task.metrics[0], "drift_kl")
    return StageSummary(
        facts={
            f"validation_{task.metrics[0]}": round(best[task.metrics[0]], 4),
            "steps": state.step,
            "peers": len(peers),
            "parameters": num_parameters(student.model),
            "trained_parameters": num_trained,
            "train_seconds": state.train_seconds,
            **measured,
            **{name: value for name, value in others.items() if name.endswith(shown)},
            **result.layout.facts(),
            "loader_wait_seconds": result.loader_wait_seconds,
            "threads": result.num_threads,
        }
    )


def _mean_kl(before_AC: np.ndarray, now_AC: np.ndarray, task: Problem) -> float:
    """Mean KL(before || now) of answers, nats."""
    kl = Objective(
        (KLTerm(kind="kl", weight=1.0, temperature=1.0),), is_binary=task.distribution == "binary"
    )
    now, before = torch.from_numpy(now_AC), torch.from_numpy(before_AC)
    labels = torch.empty(0, dtype=torch.int64)  # kl reads none
    terms = kl(now.double(), labels, before.double(), num_examples=len(now), num_labelled=0)
    return float(terms["loss"])
