"""How often a piece of work waits for the GPU, as CUDA's runtime in torch tells it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_WORDS = "synchronizing CUDA operation"  # torch: c10/cuda/CUDAFunctions.cpp


@contextmanager
def synchronisations(*, on_gpu: bool) -> Iterator[list[str]]:
    """A list that holds, at the end, where each wait within was: a file and a line.

    Args:
        on_gpu: without a GPU nothing waits, and the list stays empty.
    """
    found: list[str] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if on_gpu:
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            if on_gpu:
                torch.cuda.set_sync_debug_mode("default")
    found += [f"{one.filename}:{one.lineno}" for one in told if _WORDS in str(one.message)]
