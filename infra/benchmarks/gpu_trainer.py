"""The Hugging Face Trainer distilling: what `infra.benchmarks.gpu` is held against.

The teacher runs in `compute_loss` at every step, as in the recipes that users find; the same two
networks, loss and texts. `as it comes`: bf16, dynamic padding. `tuned`: large batches of texts of
like length, which is what its own options can do.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from tasks.training.batching.examples import Examples

_WARM_UP_SHARE = 0.2


def samples_per_second(
    student: nn.Module,
    teacher: nn.Module,
    examples: Examples,
    *,
    batch_size: int,
    grouped: bool,
    bf16: bool,
    steps: int,
) -> float:
    """Speed after a fifth of `steps`, when the device and the loader's processes are warm."""
    clock = _Clock(first=int(steps * _WARM_UP_SHARE), last=steps)
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {}
        if grouped:
            options = {"train_sampling_strategy": "group_by_length", "length_column_name": "length"}
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=batch_size, max_steps=steps, bf16=bf16,
            use_cpu=not bf16, dataloader_num_workers=8 if bf16 else 0, report_to=[],
            save_strategy="no", logging_steps=10_000, disable_tqdm=True,
            remove_unused_columns=False, **options,
        )  # fmt: skip
        _Distilling(
            model=student, args=arguments, train_dataset=_Rows(examples), data_collator=_padded,
            callbacks=[clock], teacher=teacher,
        ).train()  # fmt: skip
    return batch_size * (clock.last - clock.first) / clock.seconds


class _Distilling(Trainer):
    def __init__(self, *args: Any, teacher: nn.Module, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._teacher = teacher

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        read = (inputs["input_ids"], inputs["attention_mask"])
        logits = model(*read).float() / 2
        with torch.no_grad():
            targets = self._teacher(*read).float() / 2
        soft = nn.functional.kl_div(
            logits.log_softmax(-1), targets.log_softmax(-1), log_target=True, reduction="batchmean"
        )
        return 0.5 * 4 * soft + 0.5 * nn.functional.cross_entropy(2 * logits, inputs["labels"])


class _Rows(torch.utils.data.Dataset):
    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, row: int) -> dict[str, Any]:
        ids = self._examples.input_ids
        text = ids.values[ids.offsets[row] : ids.offsets[row + 1]].tolist()
        label = int(self._examples.labels[row])
        return {"input_ids": text, "label": label, "length": len(text)}


def _padded(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    longest = max(row["length"] for row in rows)
    ids = np.zeros((len(rows), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : row["length"]] = row["input_ids"]
        mask[at, : row["length"]] = 1
    labels = torch.tensor([row["label"] for row in rows])
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "labels": labels,
    }


class _Clock(TrainerCallback):
    def __init__(self, *, first: int, last: int) -> None:
        self.first, self.last, self.seconds = first, last, 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in (self.first, self.last):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds = time.perf_counter() - self.seconds
