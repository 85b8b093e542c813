"""Decant's side of the training benchmark: the stage functions, and the engine beneath for rounds.

All calls into `tasks.training` that the benchmark makes are here.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from infra.benchmarks.material import Material, distill_again
from infra.benchmarks.rounds import Timed
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.machine.device import Precision, resolve_precision, thread_count
from tasks.runtime.progress import SilentProgress
from tasks.training.batching import examples as rows
from tasks.training.batching.batches import epoch_order
from tasks.training.batching.ragged import RaggedIds
from tasks.training.engine.loop import train
from tasks.training.fitting.inference import predict_logits
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.adamw import prepare_weights
from tasks.training.optimization.config import TrainingConfig

_EPOCH_SEED = 0


@dataclass(frozen=True)
class Curve:
    """Validation accuracy against seconds of one full run.

    Args:
        points: (seconds since the start, step, accuracy).
        seconds: of the whole run.
        parts: seconds by part, where the system has parts.
    """

    points: tuple[tuple[float, int, float], ...]
    seconds: float
    parts: dict[str, float]


def full_run(
    material: Material, *, validations_per_epoch: int, precision: str | None = None
) -> Curve:
    """The stages teacher-signals and distillation, from tokens on disk to a published student.

    Args:
        precision: of the student, instead of the recipe's.

    Counted in: reading the teacher, validation, checkpoints, writing and hashing the artifacts;
    a validation's moment is when it was over, before the student is written.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(Path(folder))
        signals, training, clock, student = distill_again(
            material,
            store,
            validations_per_epoch=validations_per_epoch,
            precision=precision or material.config.training.precision,
        )
        history = json.loads((student / "history.json").read_text(encoding="utf-8"))
    points = clock.points(history["validations"], later=signals)
    parts = {"teacher signals": signals, "training": training}
    return Curve(points, signals + training, parts)


def signal_precision():
    """The precision in which the teacher reads, as a recipe resolves it on this machine."""
    return resolve_precision("auto")


def signals_round(material: Material, teacher, chosen: np.ndarray) -> Timed:
    """Teacher logits of the chosen rows, each text once."""
    ids = take(material.teacher_ids, chosen)
    started = time.perf_counter()
    predict_logits(
        teacher,
        ids,
        pad_token_id=material.teacher_facts["pad_token_id"],
        precision=signal_precision(),
    )
    return Timed(len(chosen), time.perf_counter() - started)


def training_round(material: Material, examples: rows.Examples, chosen: np.ndarray) -> Timed:
    """One epoch of the engine over the chosen rows, signals at hand, without validation."""
    part = part_of(examples, chosen)
    return Timed(len(chosen), train_epoch(material, part, material.student()))


def train_epoch(material: Material, part: rows.Examples, model: EncoderClassifier) -> float:
    """Seconds of one epoch of the engine over `part`; trains `model`, and never scores it."""
    torch.set_num_threads(thread_count())
    config: TrainingConfig = material.config.training.model_copy(
        update={"num_epochs": 1, "selection": "accuracy"}
    )
    prepare_weights(model.backbone, config, seed=material.config.seed)
    with tempfile.TemporaryDirectory() as work:
        started = time.perf_counter()
        train(
            model,
            part,
            objective(material),
            config,
            pad_token_id=material.student_facts["pad_token_id"],
            validate=lambda _: {"accuracy": 0.0},
            seed=_EPOCH_SEED,
            work=Path(work),
            progress=SilentProgress(),
        )
        return time.perf_counter() - started


def order_of_rows(material: Material, part: rows.Examples) -> np.ndarray:
    """The rows of `part` as `train_epoch` takes them, batch after batch."""
    config = material.config.training
    order = epoch_order(
        part.input_ids.lengths,
        batch_size=config.batch_size,
        seed=_EPOCH_SEED,
        epoch=0,
        grouped=config.group_by_length,
    )
    return np.concatenate(list(order))


def loss_of(material: Material, model: EncoderClassifier, part: rows.Examples) -> float:
    """The loss of the recipe over all of `part`, a mean over its rows, in fp32."""
    assert part.teacher_logits is not None
    logits = predict_logits(
        model, part.input_ids, pad_token_id=material.student_facts["pad_token_id"]
    )
    terms = objective(material)(
        torch.from_numpy(logits),
        torch.from_numpy(part.labels),
        torch.from_numpy(part.teacher_logits),
        num_examples=len(part),
        num_labelled=len(part),
    )
    return float(terms["loss"])


def with_signals(
    material: Material, teacher, *, precision: Precision | None = None
) -> rows.Examples:
    """The examples with the teacher's logits and its own choices as hard labels.

    Args:
        precision: in which the teacher reads; if not given, as a recipe resolves it.
    """
    logits = predict_logits(
        teacher,
        material.teacher_ids,
        pad_token_id=material.teacher_facts["pad_token_id"],
        precision=precision or signal_precision(),
    )
    found = material.examples
    return rows.pseudo_labels(
        rows.Examples(
            found.example_ids, found.input_ids, found.labels, logits, found.label_names,
            teacher_choices=logits.argmax(1).astype(np.int64),
        )
    )  # fmt: skip


def signal_agreement(examples: rows.Examples, exact: rows.Examples) -> dict[str, float]:
    """How the logits in `examples` differ from those in fp32 in `exact`: what bf16 costs."""
    ours, theirs = examples.teacher_logits, exact.teacher_logits
    assert ours is not None
    assert theirs is not None
    return {
        "same_choice": float((ours.argmax(1) == theirs.argmax(1)).mean()),
        "largest_difference": float(np.abs(ours - theirs).max()),
        "standard_deviation": float(theirs.std()),
    }


def objective(material: Material) -> Objective:
    """The loss of the recipe."""
    return Objective(material.config.objective.loss_terms)


def validation_accuracy(material: Material, model) -> float:
    """Accuracy on the validation rows; the same function scores every competitor's student."""
    logits = predict_logits(
        model, material.validation.input_ids, pad_token_id=material.student_facts["pad_token_id"]
    )
    return material.score(logits)


def part_of(examples: rows.Examples, chosen: np.ndarray) -> rows.Examples:
    """The chosen rows, in the order given."""
    return rows.Examples(
        None,
        take(examples.input_ids, chosen),
        examples.labels[chosen],
        None if examples.teacher_logits is None else examples.teacher_logits[chosen],
        examples.label_names,
    )


def take(ids: RaggedIds, chosen: np.ndarray) -> RaggedIds:
    """Token ids of the chosen texts."""
    texts = [ids.values[ids.offsets[row] : ids.offsets[row + 1]] for row in chosen]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    return RaggedIds(np.concatenate(texts), offsets)


def as_lists(ids: RaggedIds) -> list[list[int]]:
    """Token ids as Python lists, which is what the competitors' data sets hold."""
    return [
        ids.values[start:end].tolist()
        for start, end in zip(ids.offsets[:-1], ids.offsets[1:], strict=True)
    ]
