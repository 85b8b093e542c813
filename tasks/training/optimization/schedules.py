"""Values that move while a model trains: the weight or the temperature of a loss term.

A number stays as it is; a `Schedule` moves from its start to its end. The value at a step is a pure
function of the step, so that a resumed run goes on as if it had never stopped.

    {kind: linear, start: 1, end: 0, over: 0.5}      {kind: cosine, start: 4, end: 1}
    1 ╲                                              4 ──╮
       ╲_____                                             ╲
    0  half   end                                    1     ╰──
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from data_contracts.artifacts import Frozen


class Schedule(Frozen):
    """A value that moves over the steps of a training, then stays."""

    kind: Literal["linear", "cosine"] = Field(
        "linear", description="straight, or slow at both ends and fast between"
    )
    start: float = Field(allow_inf_nan=False, description="value at the first step")
    end: float = Field(allow_inf_nan=False, description="value from the end of `over` on")
    over: float = Field(
        1.0, gt=0, le=1, description="share of all planned steps during which the value moves"
    )


def values_of(value: float | Schedule) -> tuple[float, ...]:
    """What `value` starts and ends at: between lies all that it ever is."""
    return (value.start, value.end) if isinstance(value, Schedule) else (value,)


def value_at(value: float | Schedule, step: int, *, total_steps: int) -> float:
    """What `value` is at a step.

    Args:
        value: a number, which is constant, or a schedule.
        step: from 0.
        total_steps: planned for the whole training, >= 1.
    Returns: exactly `start` at step 0 and exactly `end` once `over` of the steps are done, at the
        latest at the last step.
    """
    if not isinstance(value, Schedule):
        return value
    last = value.over * (total_steps - 1)
    progress = 1.0 if step >= last and step > 0 else step / max(1.0, last)
    if progress >= 1:
        return value.end
    if value.kind == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return value.start + (value.end - value.start) * progress
