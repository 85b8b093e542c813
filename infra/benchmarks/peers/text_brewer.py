"""Distillation with TextBrewer's GeneralDistiller, padded to the longest text of the batch.

Its `kd_ce_loss` is the cross-entropy with the teacher's softened distribution, without the factor
T²: we give it the weight alpha · T², so that its gradient is that of the others. (The value differs
by the teacher's entropy, which no student changes.) It takes hard labels from the data, so it gets
the teacher's choices there for nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import get_linear_schedule_with_warmup

from infra.benchmarks import engine
from infra.benchmarks.material import Material
from infra.benchmarks.peers.hugging_face import pad
from tasks.runtime.machine.device import thread_count
from tasks.training.optimization.adamw import build_optimizer


class _WithLabels(nn.Module):
    """TextBrewer calls models with the batch's fields by name, and reads losses off the outputs."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None):
        logits = self.network(input_ids, attention_mask)
        return {"logits": logits, "labels": labels}


def student_adaptor(_, outputs: dict) -> dict:
    """Logits and the hard-label loss."""
    losses = (F.cross_entropy(outputs["logits"], outputs["labels"]),)
    return {"logits": (outputs["logits"],), "losses": losses}


def teacher_adaptor(_, outputs: dict) -> dict:
    """Logits."""
    return {"logits": (outputs["logits"],)}


def distiller(
    material: Material, teacher: nn.Module, student: nn.Module, folder: str
) -> GeneralDistiller:
    """A GeneralDistiller with the recipe's loss."""
    objective = material.config.objective
    config = DistillationConfig(
        temperature=objective.temperature,
        kd_loss_type="ce",
        kd_loss_weight=objective.alpha * objective.temperature**2,
        hard_label_weight=1 - objective.alpha,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    training = TrainingConfig(output_dir=folder, log_dir=None, device=device)
    return GeneralDistiller(
        training,
        config,
        _WithLabels(teacher).to(device),
        _WithLabels(student).to(device),
        teacher_adaptor,
        student_adaptor,
    )


def train(
    material: Material,
    teacher: nn.Module,
    *,
    chosen: np.ndarray,
    num_epochs: int,
    hard_labels: np.ndarray,
    validate_at: frozenset[int] = frozenset(),
    student: nn.Module | None = None,
    in_order: bool = False,
) -> engine.Curve:
    """Train on the chosen rows; imports and set-up are not timed.

    Args:
        student: trained in place; a fresh one of the material if not given.
        in_order: take the rows as they are given, not shuffled.
    """
    torch.set_num_threads(thread_count())
    config = material.config.training
    student = student or material.plain_student()
    loader = _loader(material, chosen, hard_labels, shuffle=not in_order)
    num_steps = len(loader) * num_epochs
    with tempfile.TemporaryDirectory() as folder:
        system = distiller(material, teacher.eval(), student, folder)
        optimizer = build_optimizer(student, config)
        started = time.perf_counter()
        # TextBrewer calls back once an epoch at most; finer points come through its batch hook.
        step = _Steps(validate_at, lambda: engine.validation_accuracy(material, student), started)
        with system:
            system.train(
                optimizer,
                loader,
                num_epochs=num_epochs,
                scheduler_class=get_linear_schedule_with_warmup,
                scheduler_args={
                    "num_warmup_steps": round(config.warmup_share * num_steps),
                    "num_training_steps": num_steps,
                },
                max_grad_norm=config.max_grad_norm,
                batch_postprocessor=step,
            )
        step(None)
        seconds = time.perf_counter() - started
    return engine.Curve(tuple(step.points), seconds, {})


class _Steps:
    """Sees every batch before it is trained on: validates after the steps that are due."""

    def __init__(
        self, validate_at: frozenset[int], validate: Callable[[], float], started: float
    ) -> None:
        self.done, self.validate_at, self.validate = 0, validate_at, validate
        self.points: list[tuple[float, int, float]] = []
        self.started = started

    def __call__(self, batch):
        if self.done in self.validate_at:
            accuracy = self.validate()
            self.points.append((time.perf_counter() - self.started, self.done, accuracy))
        self.done += 1
        return batch


def _loader(
    material: Material, chosen: np.ndarray, hard_labels: np.ndarray, *, shuffle: bool
) -> DataLoader:
    student = engine.as_lists(engine.take(material.examples.input_ids, chosen))
    teacher = engine.as_lists(engine.take(material.teacher_ids, chosen))
    rows = list(zip(student, teacher, hard_labels[chosen].tolist(), strict=True))
    pads = (material.student_facts["pad_token_id"], material.teacher_facts["pad_token_id"])

    def collate(batch):
        student_rows, teacher_rows, labels = zip(*batch, strict=True)
        sides = zip((student_rows, teacher_rows), pads, strict=True)
        parts = [pad(list(rows), pad_id, None) for rows, pad_id in sides]
        student, teacher = ({"input_ids": ids, "attention_mask": mask} for ids, mask in parts)
        return {"student": {**student, "labels": torch.tensor(labels)}, "teacher": teacher}

    generator = torch.Generator().manual_seed(material.config.seed)
    return DataLoader(
        rows,
        batch_size=material.config.training.batch_size,
        shuffle=shuffle,
        generator=generator,
        collate_fn=collate,
    )
