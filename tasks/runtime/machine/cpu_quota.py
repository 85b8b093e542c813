"""How many cores the control groups of this process pay for: the limit that containers set.

A container with `--cpus 2` on a host of 64 cores sees 64 in its affinity mask, may use two cores'
worth of time in each tenth of a second, and is stopped for the rest of it. 64 threads then wait for
each other 62 times out of 64.

    cgroup v2   /sys/fs/cgroup/<group>/cpu.max                          "200000 100000"
    cgroup v1   /sys/fs/cgroup/cpu/<group>/cpu.cfs_quota_us, cpu.cfs_period_us

A group is limited by its parents too, so the smallest quota up to the root holds.

References: Linux kernel, Documentation/admin-guide/cgroup-v2.rst, section cpu (cpu.max);
    Documentation/scheduler/sched-bwc.rst (cfs_quota_us, -1 for none).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that this process may use, None without a limit.

    Args:
        root: of the file system to read.
    """
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups this process is in, each with its parents."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            mounts = [mounted, mounted / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [mounted / "cpu", mounted / controllers]
        else:
            continue
        # In a container the mount often begins at the group itself, while the path is the host's:
        # then only the mount is there, and it is the last of the parents.
        path = PurePosixPath(group.lstrip("/"))
        for mount in mounts:
            yield from (mount / part for part in (path, *path.parents))


def _quota(folder: Path) -> float | None:
    """Quota of one group in cores, None if it has none or is not there."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip()
                for name in ("quota", "period")
            )
    except (OSError, ValueError):
        return None
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return None  # "max" or -1
    return int(quota) / int(period)
