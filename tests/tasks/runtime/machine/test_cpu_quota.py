"""Quotas of control groups, as Linux, Docker and Kubernetes write them."""

import pytest

from tasks.runtime.machine.cpu_quota import cpu_quota


def tree(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


CGROUP = "sys/fs/cgroup"
CASES = {
    "v2 in a container": (
        {"proc/self/cgroup": "0::/\n", f"{CGROUP}/cpu.max": "200000 100000\n"},
        2.0,
    ),
    "v2 without a limit": (
        {"proc/self/cgroup": "0::/\n", f"{CGROUP}/cpu.max": "max 100000\n"},
        None,
    ),
    "v2, the parent limits": (
        {
            "proc/self/cgroup": "0::/user.slice/job\n",
            f"{CGROUP}/user.slice/job/cpu.max": "400000 100000\n",
            f"{CGROUP}/user.slice/cpu.max": "150000 100000\n",
        },
        1.5,
    ),
    "v2, the path is the host's": (
        {
            "proc/self/cgroup": "0::/../../docker/abc\n",
            f"{CGROUP}/cpu.max": "50000 100000\n",
        },
        0.5,
    ),
    "v1": (
        {
            "proc/self/cgroup": "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
            f"{CGROUP}/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "300000\n",
            f"{CGROUP}/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
        },
        3.0,
    ),
    "v1 in a container, the mount is the group": (
        {
            "proc/self/cgroup": "3:cpuacct,cpu:/kubepods/pod1/abc\n",
            f"{CGROUP}/cpu/cpu.cfs_quota_us": "100000\n",
            f"{CGROUP}/cpu/cpu.cfs_period_us": "100000\n",
        },
        1.0,
    ),
    "v1 without a limit": (
        {
            "proc/self/cgroup": "3:cpu:/\n",
            f"{CGROUP}/cpu/cpu.cfs_quota_us": "-1\n",
            f"{CGROUP}/cpu/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
    "hybrid, both hierarchies": (
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/a\n0::/a\n",
            f"{CGROUP}/cpu,cpuacct/a/cpu.cfs_quota_us": "700000\n",
            f"{CGROUP}/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
            f"{CGROUP}/unified/a/cpu.max": "max 100000\n",
        },
        7.0,
    ),
    "no control groups": ({}, None),
    "unreadable numbers": ({"proc/self/cgroup": "0::/\n", f"{CGROUP}/cpu.max": "soon\n"}, None),
}


@pytest.mark.parametrize(("files", "expected"), CASES.values(), ids=CASES)
def test_the_smallest_quota_up_to_the_root_holds(tmp_path, files, expected):
    """All cores of the host as threads, in a container that pays for two."""
    assert cpu_quota(tree(tmp_path, files)) == expected


def test_this_machine_can_be_read():
    """A file that looks otherwise here than in the books: the run dies before it began."""
    assert cpu_quota() is None or cpu_quota() > 0
