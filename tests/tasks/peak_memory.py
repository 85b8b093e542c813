"""The most memory that a block holds beyond what was held before it, for promises about memory."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROCESS = Path("/proc/self")


@dataclass
class Peak:
    """Bytes resident at most within the block, beyond those before it."""

    growth_bytes: int = 0


@contextmanager
def peak_memory():
    """Measure the block; what the process held at most before it does not count."""
    (_PROCESS / "clear_refs").write_text("5")  # the peak begins anew (proc(5))
    before, peak = _resident_bytes("VmRSS"), Peak()
    yield peak
    peak.growth_bytes = _resident_bytes("VmHWM") - before


def _resident_bytes(name):
    for line in (_PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)
