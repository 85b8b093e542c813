"""Which device and numeric precision this machine gives.

Precision defines the result, so it is resolved *before* keys are made, from facts that cost nothing
to read: no torch import. bf16 pays only where the processor multiplies it natively (AMX or
AVX512-BF16: products 6 times faster than fp32 measured; elsewhere it is emulated and slower). A
measurement would give another key on a busy day; training makes one and records it beside its
result (`tasks.training.precision_probe`).
"""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast, get_args

from data_contracts.errors import UserError
from tasks.runtime.cpu_quota import cpu_quota

Precision = Literal["fp32", "bf16"]
CompileMode = Literal["auto", "always", "never", "graphs"]


@cache
def has_cuda() -> bool:
    """Whether an NVIDIA driver and device are present (checked without importing torch)."""
    if version("torch").endswith("+cpu"):
        return False
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return False
    return Path("/dev/nvidia0").exists() or Path("/dev/nvidiactl").exists()


@cache
def cpu_multiplies_bf16() -> bool:
    """Whether the processor has AMX-BF16 or AVX512-BF16 instructions."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def resolve_precision(requested: Literal["auto", "fp32", "bf16"]) -> Precision:
    """`auto` becomes bf16 where the hardware multiplies it natively, otherwise fp32."""
    if requested != "auto":
        return requested
    return "bf16" if has_cuda() or cpu_multiplies_bf16() else "fp32"


def cpu_count() -> int:
    """Whole cores this process may really use: by affinity mask and by the container's quota.

    `os.cpu_count` ignores both. Part of a core is not counted: a thread on it would make the others
    wait at every barrier.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def thread_count() -> int:
    """Threads for arithmetic: `OMP_NUM_THREADS` if set, otherwise all cores of this process.

    Two processes that each take all cores wait for each other at every barrier: measured, 30 times
    slower. Who runs several at once (tests, shards) sets the variable.
    """
    requested = os.environ.get("OMP_NUM_THREADS", "")
    return int(requested) if requested.isdigit() and int(requested) > 0 else cpu_count()


def max_tokens_per_pass() -> int | None:
    """Most token positions of one training or scoring pass: `DECANT_MAX_TOKENS_PER_PASS`, or None.

    It bounds memory and never changes a gradient (a step is split into passes and summed), so it
    belongs to the machine and not to a recipe.
    """
    text = os.environ.get("DECANT_MAX_TOKENS_PER_PASS", "").strip()
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        raise UserError(
            f"DECANT_MAX_TOKENS_PER_PASS is {text!r}",
            rule="it is a whole number of tokens, 1 or more",
            remedy="unset it, or set for instance 16384",
        )
    return int(text)


def compile_mode() -> CompileMode:
    """Whether kernels are compiled on CUDA: `DECANT_COMPILE`, `auto` if unset.

    `auto` where a run is long enough to win back the minutes of compilation, `always`, `never`, or
    `graphs`: compiled and recorded as CUDA graphs, for passes too small to keep the device busy.
    """
    text = os.environ.get("DECANT_COMPILE", "").strip() or "auto"
    if text not in get_args(CompileMode):
        raise UserError(
            f"DECANT_COMPILE is {text!r}",
            rule=f"it is one of {', '.join(get_args(CompileMode))}",
            remedy="unset it to let the length of the run decide",
        )
    return cast(CompileMode, text)
