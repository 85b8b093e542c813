"""Fixtures for all tests: offline, quiet, one temporary home a test."""

import os

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


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty artifact store under a DECANT_HOME of its own."""
    monkeypatch.setenv("DECANT_HOME", str(tmp_path / "home"))
    return ArtifactStore(tmp_path / "home")


def pytest_collection_modifyitems(items):
    """Files with slow tests first: two processes that take a file at a time end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
