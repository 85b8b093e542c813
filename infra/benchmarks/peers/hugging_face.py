"""Distillation with Hugging Face Trainer, as its users write it: a subclass with `compute_loss`.

    default       rows padded to max_length, random order, Trainer's other defaults
    tuned         padded to the longest of the batch, grouped by length
    tuned_bf16    the same under bf16 autocast
    tuned_cached  tuned, with the teacher's logits kept in the data set beforehand (`train_cached`
                  counts the pass of the teacher that makes them)
    in_order      the same, batches in the order given: to compare results, not times

Same rows, token ids, initial student, batch size, learning rate and schedule as Decant's. The hard
labels are the teacher's choices there too.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from infra.benchmarks import engine
from infra.benchmarks.material import Material
from tasks.runtime.machine.device import thread_count

VARIANTS = ("default", "tuned", "tuned_bf16", "tuned_cached")
_SAMPLING = {"default": "random", "in_order": "sequential"}


def kd_loss(
    student_logits: Tensor, teacher_logits: Tensor, *, alpha: float, temperature: float
) -> Tensor:
    """alpha · T² · KL + (1 - alpha) · CE with the teacher's choice, as tutorials write it."""
    soft = F.kl_div(
        F.log_softmax(student_logits / temperature, dim=-1),
        F.softmax(teacher_logits / temperature, dim=-1),
        reduction="batchmean",
    )
    hard = F.cross_entropy(student_logits, teacher_logits.argmax(-1))
    return alpha * temperature**2 * soft + (1 - alpha) * hard


class DistillationTrainer(Trainer):
    """Runs the teacher in every step, unless the batch brings its logits."""

    def __init__(self, *, teacher: nn.Module, alpha: float, temperature: float, **arguments):
        """Trainer's arguments, the teacher and the weights of the loss."""
        super().__init__(**arguments)
        self.teacher, self.alpha, self.temperature = teacher, alpha, temperature

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        """The distillation loss of a batch."""
        logits = model(inputs["input_ids"], inputs["attention_mask"])
        teacher_logits = inputs.get("teacher_logits")
        if teacher_logits is None:
            with torch.no_grad():
                teacher_logits = self.teacher(
                    inputs["teacher_input_ids"], inputs["teacher_attention_mask"]
                )
        loss = kd_loss(
            logits.float(), teacher_logits.float(), alpha=self.alpha, temperature=self.temperature
        )
        return (loss, {"logits": logits}) if return_outputs else loss


@dataclass(frozen=True)
class Collator:
    """Rows to tensors, padded to the longest of the batch or to a fixed length."""

    student_pad: int
    teacher_pad: int
    student_length: int | None
    teacher_length: int | None

    def __call__(self, rows: list[dict]) -> dict[str, Tensor]:
        """Tensors of a batch."""
        ids, mask = pad([r["input_ids"] for r in rows], self.student_pad, self.student_length)
        batch = {"input_ids": ids, "attention_mask": mask}
        if "teacher_logits" in rows[0]:
            batch["teacher_logits"] = torch.tensor([r["teacher_logits"] for r in rows])
        else:
            teacher_rows = [r["teacher_input_ids"] for r in rows]
            ids, mask = pad(teacher_rows, self.teacher_pad, self.teacher_length)
            batch |= {"teacher_input_ids": ids, "teacher_attention_mask": mask}
        return batch


def pad(rows: list[list[int]], pad_id: int, length: int | None) -> tuple[Tensor, Tensor]:
    """Token ids and mask, right-padded."""
    length = length or max(map(len, rows))
    ids = torch.full((len(rows), length), pad_id)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    return ids, mask


class _Clock(TrainerCallback):
    """Seconds from the first step on, and validation at given steps."""

    def __init__(self, validate_at: frozenset[int], validate: Callable[[nn.Module], float]):
        self.validate_at, self.validate = validate_at, validate
        self.points: list[tuple[float, int, float]] = []
        self.started = self.ended = 0.0

    def on_train_begin(self, args, state, control, **_):
        self.started = time.perf_counter()

    def on_train_end(self, args, state, control, **_):
        self.ended = time.perf_counter()

    def on_step_end(self, args, state, control, *, model, **_):
        if state.global_step in self.validate_at:
            accuracy = self.validate(model)
            seconds = time.perf_counter() - self.started
            self.points.append((seconds, state.global_step, accuracy))
            model.train()


def train(
    material: Material,
    teacher: nn.Module,
    variant: str,
    *,
    chosen: np.ndarray,
    num_epochs: int,
    validate_at: frozenset[int] = frozenset(),
    teacher_logits: np.ndarray | None = None,
    student: nn.Module | None = None,
) -> engine.Curve:
    """Train on the chosen rows; imports, data set and Trainer's set-up untimed.

    Args:
        student: trained in place; a fresh one of the material if not given.
    """
    torch.set_num_threads(thread_count())
    config, objective = material.config.training, material.config.objective
    is_default = variant == "default"
    columns = {
        "input_ids": engine.as_lists(engine.take(material.examples.input_ids, chosen)),
        "teacher_input_ids": engine.as_lists(engine.take(material.teacher_ids, chosen)),
    }
    columns["length"] = [len(row) for row in columns["input_ids"]]
    if variant in ("tuned_cached", "in_order"):
        del columns["teacher_input_ids"]
        assert teacher_logits is not None
        columns["teacher_logits"] = teacher_logits[chosen].tolist()
    clock = _Clock(validate_at, lambda model: engine.validation_accuracy(material, model))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=config.batch_size,
            num_train_epochs=num_epochs,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            warmup_steps=config.warmup_share,
            adam_beta2=config.adam_beta2,
            max_grad_norm=config.max_grad_norm,
            lr_scheduler_type="linear",
            seed=material.config.seed,
            bf16=variant == "tuned_bf16",
            train_sampling_strategy=_SAMPLING.get(variant, "group_by_length"),
            length_column_name="length",
            remove_unused_columns=False,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = DistillationTrainer(
            teacher=teacher.eval().to(arguments.device),
            alpha=objective.alpha,
            temperature=objective.temperature,
            model=student or material.plain_student(),
            args=arguments,
            train_dataset=Dataset.from_dict(columns),
            data_collator=Collator(
                material.student_facts["pad_token_id"],
                material.teacher_facts["pad_token_id"],
                material.student_facts["max_length_tokens"] if is_default else None,
                material.teacher_facts["max_length_tokens"] if is_default else None,
            ),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return engine.Curve(tuple(clock.points), clock.ended - clock.started, {})


def train_cached(material: Material, teacher: nn.Module, **options) -> engine.Curve:
    """As a user who writes the cache by hand: the teacher reads all rows once, then `tuned_cached`.

    Args:
        options: as for `train`.
    """
    seconds, logits = teacher_pass(material, teacher)
    curve = train(material, teacher, "tuned_cached", teacher_logits=logits, **options)
    points = tuple((seconds + at, step, score) for at, step, score in curve.points)
    parts = {"teacher signals": seconds, "training": curve.seconds}
    return engine.Curve(points, seconds + curve.seconds, parts)


@torch.no_grad()
def teacher_pass(material: Material, teacher: nn.Module) -> tuple[float, np.ndarray]:
    """Seconds in which the teacher reads all rows once, batches of 32 by length, and its logits."""
    torch.set_num_threads(thread_count())
    started = time.perf_counter()
    lists = engine.as_lists(material.teacher_ids)
    order = sorted(range(len(lists)), key=lambda row: len(lists[row]))
    found: list[Tensor] = [torch.empty(0)] * len(lists)
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        batch = pad([lists[row] for row in rows], material.teacher_facts["pad_token_id"], None)
        for row, logits in zip(rows, teacher(*batch), strict=True):
            found[row] = logits
    return time.perf_counter() - started, torch.stack(found).numpy()
