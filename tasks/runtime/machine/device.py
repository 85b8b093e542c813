"""What this machine gives: device, precision, threads and processes, and what its user has set.

Precision defines the result, so it is resolved *before* keys are made, from facts that cost nothing
to read: no torch import. bf16 pays only where the processor multiplies it natively; elsewhere it is
emulated and slower. Measured with AMX: products 6 times faster than fp32. With AVX512-BF16 alone
(Zen 4, one thread, 2026-11-24): products 2.1 times, MiniLM reading short texts 1.7 to 1.8 times, a
student of 2 x 192 learning in batches of 32 texts 1.25 to 1.35 times. A measurement would give
another key on a busy day; training makes one and records it beside its result
(`tasks.training.engine.precision_probe`).
"""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast, get_args

from data_contracts.errors import UserError
from tasks.runtime.machine.cpu_quota import cpu_quota

Precision = Literal["fp32", "bf16"]
CompileMode = Literal["auto", "always", "never", "graphs"]

# Weights times texts of a training step. A student of 0.9 M weights and batches of 32 (28 M) gains
# 1.3 times from a second thread when nobody else computes, and loses five times when somebody does.
_WORTH_THREADS = 64e6
# How many processes train one model, and whether it is sharded over them: where and how, not what.
PROCESSES = "DECANT_PROCESSES"
SHARDED = "DECANT_SHARDED"

# oneDNN, by which a CPU multiplies bf16, makes code for every size of a product that it meets and
# keeps it for the last 1,024; torch's bindings keep as many operators of their own. A pass of a new
# size is 2 MB, and sizes hardly recur (tokens of a step, texts of a part's last pass): memory grew
# with rows, by 800 MiB at most. A step needs some twenty for each network that takes part, all
# layers the same (fewer than that kept, and every one of its products would be made anew, at
# 0.13 ms). 300 steps of a 2 x 192 student, 64 texts each: 1,145 MiB with 1,024 kept, 467 with 64.
# The price: padded steps of the quickstart have some 300 sizes that do recur, and an epoch of it
# takes 5 % longer than with 1,024. Read when the first product is made, after this module is
# imported.
_KEPT_SIZES = "128"
for _capacity in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_capacity, _KEPT_SIZES)


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


def is_small_step(num_weights: int, batch_size: int) -> bool:
    """Whether a training step is too small to be worth a second thread or process.

    Args:
        num_weights: of the encoder, without embeddings: what every token is multiplied by.
        batch_size: texts a step.
    """
    return num_weights * batch_size < _WORTH_THREADS


def trains_on_one_thread(num_weights: int, batch_size: int) -> bool:
    """Whether a model is so small that its training is given one thread, on every CPU.

    A rule of the model alone: sums are rounded in another order with another number of threads, so
    the load of a machine must not decide. On CUDA it is never so: the device is shared by nobody.

    Args: as for `is_small_step`.
    """
    return not has_cuda() and is_small_step(num_weights, batch_size)


def process_count() -> int:
    """Processes that train one model: DECANT_PROCESSES if set, else one a GPU; within one, 1."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return 1
    return _whole_number(PROCESSES, "processes", example=2) or max(1, _gpu_count())


def _gpu_count() -> int:
    if not has_cuda():
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip()])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def max_tokens_per_pass() -> int | None:
    """Most token positions of one training or scoring pass: `DECANT_MAX_TOKENS_PER_PASS`, or None.

    It bounds memory and never changes a gradient (a step is split into passes and summed), so it
    belongs to the machine and not to a recipe.
    """
    return _whole_number("DECANT_MAX_TOKENS_PER_PASS", "tokens", example=16384)


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


def _whole_number(variable: str, unit: str, *, example: int) -> int | None:
    """What an environment variable is set to, None if it is not.

    Raises: UserError unless it is a whole number above 0.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        raise UserError(
            f"{variable} is {text!r}",
            rule=f"it is a whole number of {unit}, 1 or more",
            remedy=f"unset it, or set for instance {example}",
        )
    return int(text)
