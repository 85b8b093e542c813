"""What a figure must be read with: processor, cores, memory, versions, commit, date. No names."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tasks.metrics.latency import processor_name
from tasks.runtime.machine.device import cpu_count, cpu_multiplies_bf16, thread_count

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "pyarrow",
    "onnxruntime",
    "accelerate",
    "textbrewer",
    "sentence-transformers",
)
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def describe() -> dict:
    """Facts about this machine and environment, as JSON values."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor_name(),
        "cores": cpu_count(),
        "threads": thread_count(),
        "flags": [flag for flag in _FLAGS if flag in _cpu_flags()],
        "bf16_products": cpu_multiplies_bf16(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "commit": _commit(),
    }


def moment(machine: dict) -> str:
    """When it was, of what `describe` gave: date and commit."""
    return f"{machine['date']}, commit {machine['commit']}"


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    """The commit, and `-dirty` if tracked files differ, results of sections just measured aside."""
    folder = Path(__file__).parent
    written = (f":(exclude){folder / name}" for name in ("results", "speed*"))
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *written)
    return (commit or "unknown") + ("-dirty" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
