"""What the sections of the GPU benchmark share: sizes, the device, networks, layouts, the peak."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from infra.benchmarks.gpu_material import classifier, lognormal_texts
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.training.batching.examples import Examples
from tasks.training.batching.layouts import Layout, packed_layout


@dataclass(frozen=True)
class Sizes:
    """How much is run; `tiny` for a smoke run on a CPU."""

    texts: int = 200_000
    vocabulary: int = 250_002
    pass_tokens: int = 65_536
    epochs: int = 2
    student: tuple[int, int, int] = (6, 384, 12)  # layers, width, heads
    wide_student: tuple[int, int, int] = (6, 768, 12)
    teacher: tuple[int, int, int] = (12, 768, 12)
    product: int = 8192
    trainer_steps: int = 250


FULL = Sizes()
TINY = Sizes(
    texts=96, vocabulary=300, pass_tokens=1024, epochs=1, student=(1, 32, 2),
    wide_student=(1, 32, 2), teacher=(1, 32, 2), product=64, trainer_steps=6,
)  # fmt: skip


class Bench:
    """Sizes, device and the measured peak, which later sections relate to."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        """Nothing is measured yet."""
        self.sizes, self.device = sizes, device
        self.on_gpu = device.type == "cuda"
        self.precision = "bf16" if self.on_gpu else "fp32"
        self.peak_tflops: float | None = None

    def examples(
        self, mean: float = 27.0, longest: int = 128, texts: int | None = None
    ) -> Examples:
        """Texts of the sizes asked for."""
        return lognormal_texts(
            texts or self.sizes.texts, mean=mean, longest=longest, vocabulary=self.sizes.vocabulary
        )

    def model(self, shape: tuple[int, int, int], *, dropout: float = 0.0) -> EncoderClassifier:
        """A classifier with random weights on the device."""
        return classifier(shape, vocabulary=self.sizes.vocabulary, dropout=dropout).to(self.device)

    def layouts(self, examples: Examples, batch_size: int) -> dict[str, Layout]:
        """Each packed layout that trains on the device, by name."""
        lengths = examples.input_ids.lengths
        sizes: dict[str, Any] = {
            "batch_size": batch_size, "grouped": False, "pass_tokens": self.sizes.pass_tokens,
        }  # fmt: skip
        width = -(-int(lengths.max()) // 128) * 128
        found = {f"rows of {width}": packed_layout("rows", lengths, width=width, **sizes)}
        found["varlen"] = packed_layout("varlen", lengths, **sizes)
        if self.on_gpu:  # flex attention has no backward pass on a CPU
            for block in (64, 128):
                found[f"flex {block}"] = packed_layout("flex", lengths, width=block, **sizes)
        return found

    def share(self, tflops: float) -> float | None:
        """Of the measured peak."""
        return round(tflops / self.peak_tflops, 3) if self.peak_tflops else None

    def memory(self) -> float | None:
        """Most GiB allocated since last asked."""
        if not self.on_gpu:
            return None
        found = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        return round(found, 1)

    def forget(self) -> None:
        """Drop compiled code and cached memory."""
        torch._dynamo.reset()
        if self.on_gpu:
            torch.cuda.empty_cache()

    def batch_size(self, examples: Examples) -> int:
        """Texts whose tokens nearly fill one pass."""
        return max(1, int(self.sizes.pass_tokens * 0.96 / examples.input_ids.lengths.mean()))

    def clock(self) -> float:
        """Seconds, once the device has done all it was told."""
        if self.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()
