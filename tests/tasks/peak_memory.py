"""The most memory that a block holds beyond what was held before it, for promises about memory."""

import resource
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Peak:
    """Bytes resident at most within the block, beyond those before it."""

    growth_bytes: int = 0


@contextmanager
def peak_memory():
    """Measure the block. Where the kernel cannot begin the peak anew (proc(5), clear_refs), what an
    earlier test held hides as much."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before, peak = _peak_bytes(), Peak()
    yield peak
    peak.growth_bytes = _peak_bytes() - before


def _peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
