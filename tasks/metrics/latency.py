"""How long an answer takes, and how many a second, within a budget of seconds.

A shared machine speeds up and slows down by the minute, so systems whose *ratio* matters are timed
in turns: A B C, A B C, ... and the ratio is taken round by round. Its median survives a neighbour's
burst that two separate measurements would report as a speed-up. The first calls, which allocate
memory and pick kernels, are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from tasks.metrics.scores.classification import FloatArray

INCLUDES = "tokenization, padding to the longest text of the batch, the network; not loading"
_WARMUP_CALLS = 5

Text: TypeAlias = str | tuple[str, str]
"""A text, or two that are read together (a pair, a question and its context)."""

Timed: TypeAlias = Callable[[Sequence[Text]], object]
"""What is timed: texts in, answers out; what they are does not matter."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds one text waits, at batch 1."""

    p50_ms: float
    p95_ms: float
    num_texts: int


def measure_latency(
    answer: Timed,
    texts: Sequence[Text],
    *,
    max_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time `answer` on one text after the other.

    Args:
        answer: texts in, logits out.
        texts: real texts; each is timed once.
        max_seconds: stop after the text that passes this; at least one text is timed.
        clock: seconds, monotonic.

    Raises:
        ValueError: if there are no texts.
    """
    if not texts:
        raise ValueError("no texts to time")
    for text in texts[:_WARMUP_CALLS]:
        answer([text])
    seconds: list[float] = []
    started = clock()
    for text in texts:
        before = clock()
        answer([text])
        after = clock()
        seconds.append(after - before)
        if after - started >= max_seconds:
            break
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    return Latency(float(p50), float(p95), len(seconds))


def measure_throughput(
    systems: Mapping[str, tuple[Timed, Sequence[Text]]],
    *,
    batch_size: int,
    max_rounds: int,
    max_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, FloatArray]:
    """Texts a second of each system in interleaved rounds: entry r of all arrays is round r.

    Args:
        systems: name -> what answers, and the texts it answers in each round.
        batch_size: texts a call.
        max_rounds: rounds at most.
        max_seconds: no further round starts after this; at least one is run.
        clock: seconds, monotonic.

    Returns:
        Arrays of shape (rounds,), texts per second.
    """
    for answer, texts in systems.values():
        answer(texts[:batch_size])
    rates: dict[str, list[float]] = {name: [] for name in systems}
    started = clock()
    for _ in range(max_rounds):
        for name, (answer, texts) in systems.items():
            before = clock()
            for start in range(0, len(texts), batch_size):
                answer(texts[start : start + batch_size])
            rates[name].append(len(texts) / (clock() - before))
        if clock() - started >= max_seconds:
            break
    return {name: np.array(found) for name, found in rates.items()}


@contextmanager
def cpu_threads(num_threads: int) -> Iterator[None]:
    """Let torch compute with this many threads inside the block, and as before after it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def processor_name() -> str:
    """The processor's own name where the system tells it, so that times can be placed."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")
