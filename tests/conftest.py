"""Fixtures for all tests: offline, quiet, one temporary home a test."""

import contextlib
import errno
import os
import sys
from pathlib import Path

os.environ.update(
    OMP_NUM_THREADS="1",  # test processes run side by side
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    DO_NOT_TRACK="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    TOKENIZERS_PARALLELISM="false",
)

import pytest

from tasks.runtime.artifacts import ArtifactStore

MEMORY = Path("/dev/shm")
# Files of a run of all tests took 0.2 GB there; its processes take some more.
NEEDED_BYTES = 8 * 2**30


def room_in_memory():
    """Bytes that files in memory may take: of the machine, its container and the file system."""
    folder = os.statvfs(MEMORY)
    (kilobytes,) = (
        line.split()[1]
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable:")
    )
    limit = Path("/sys/fs/cgroup/memory.max")
    limited = limit.read_text().strip() if limit.exists() else "max"
    return min(
        folder.f_bavail * folder.f_frsize,
        int(kilobytes) * 1024,
        sys.maxsize if limited == "max" else int(limited),
    )


# The store syncs all that it publishes, and the tests would wait for the disk.
with contextlib.suppress(OSError, ValueError):  # of other systems than Linux
    takes_programs = not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    if os.access(MEMORY, os.W_OK) and takes_programs and room_in_memory() > NEEDED_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# As in an ordinary shell, where Python leaves what it compiles in the folder of a loaded model.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty artifact store under a DECANT_HOME of its own."""
    monkeypatch.setenv("DECANT_HOME", str(tmp_path / "home"))
    return ArtifactStore(tmp_path / "home")


@pytest.fixture
def locked(monkeypatch):
    """The name of a folder that may not be looked into: tests run as root, whom nothing is refused.

    Asked by `Path.is_file`.
    """
    is_file = Path.is_file

    def refused(path):
        if "locked" in path.parts:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    return "locked"


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server on a free port of loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """An empty bucket, read by s3fs through the environment as in production."""
    import boto3
    import fsspec

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test-key-id",
        "AWS_SECRET_ACCESS_KEY": "test-access-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    resource = boto3.resource("s3", endpoint_url=s3_server)
    made = resource.create_bucket(Bucket="decant-test")
    yield made
    made.objects.all().delete()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def pytest_collection_modifyitems(items):
    """Files with slow tests first: two processes that take a file at a time end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
