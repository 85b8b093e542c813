"""How much faster this processor multiplies bf16 than fp32, measured in a tenth of a second.

Precision defines the result, so it is chosen by the processor's flags, which are the same every day
(`tasks.runtime.machine.device`). A flag can promise what a virtual machine does not keep; so
whoever trains or reads in bf16 on a CPU measures once and records the ratio among the facts of its
result; a training says so if bf16 is the slower one.
"""

from __future__ import annotations

import statistics
import time
from functools import cache

import torch

from tasks.runtime.machine.device import Precision, has_cuda
from tasks.runtime.progress import Progress, SilentProgress

# A product of 8 texts of 16 tokens in a width of 384: half a millisecond in fp32, and small enough
# that a processor which emulates bf16 is done in time too.
_SHAPE = (128, 384, 384)
_BUDGET_SECONDS = 0.1


def precision_facts(
    precision: Precision,
    progress: Progress = SilentProgress(),  # noqa: B008  # has no state
) -> dict[str, float]:
    """What bf16 is worth on this CPU, for a stage's facts; nothing in fp32 or on a GPU.

    It depends on the machine, so it enters no key and no file of an artifact.

    Args:
        progress: hears it if bf16 is the slower one.
    """
    if precision != "bf16" or has_cuda():
        return {}
    speedup = bf16_speedup()
    if warning := contradiction(speedup):
        progress.say(warning)
    return {"bf16_speedup": round(speedup, 2)}


@cache
def bf16_speedup() -> float:
    """Time of an fp32 product over that of a bf16 one; measured once in a process.

    Interleaved, so that a busy neighbour slows both; medians, so that one interruption is no news.
    """
    rows, inner, columns = _SHAPE
    pairs = {
        dtype: (torch.ones(rows, inner, dtype=dtype), torch.ones(inner, columns, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    seconds: dict[torch.dtype, list[float]] = {dtype: [] for dtype in pairs}
    for left, right in pairs.values():
        torch.mm(left[:1], right)  # the first product of a kind pays for setting up
    deadline = time.perf_counter() + _BUDGET_SECONDS
    while time.perf_counter() < deadline or not seconds[torch.bfloat16]:
        for dtype, (left, right) in pairs.items():
            started = time.perf_counter()
            torch.mm(left, right)
            seconds[dtype].append(time.perf_counter() - started)
    fp32, bf16 = (statistics.median(measured) for measured in seconds.values())
    return fp32 / bf16


def contradiction(speedup: float) -> str | None:
    """What to say if bf16 does not pay here, None if it does."""
    if speedup >= 1:
        return None
    return (
        f"bf16 takes {1 / speedup:.1f} times as long as fp32 on this processor, whatever its flags "
        "say: set training.precision to fp32 (another result, with a key of its own)"
    )
