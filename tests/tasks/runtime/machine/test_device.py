"""Precision and cores are read off the machine, without torch."""

import os
import subprocess
import sys

import pytest

from data_contracts.errors import UserError
from tasks.runtime.machine import device

ONE_CORE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from tasks.runtime.machine.device import cpu_count
print(cpu_count(), "torch" in sys.modules)
"""


@pytest.fixture(autouse=True)
def _fresh():
    """Facts about the machine are remembered; each test asks anew."""
    device.has_cuda.cache_clear()
    device.cpu_multiplies_bf16.cache_clear()
    yield
    device.has_cuda.cache_clear()
    device.cpu_multiplies_bf16.cache_clear()


@pytest.mark.parametrize("hidden", ["", "-1", " "])
def test_a_hidden_device_is_not_there(monkeypatch, hidden):
    """A key made for bf16, and a run that then computes in fp32."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert device.has_cuda() is False


def test_auto_is_what_the_hardware_multiplies(monkeypatch):
    """Emulated bf16 on an old processor: several times slower, for nothing."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for native, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(device, "cpu_multiplies_bf16", lambda native=native: native)
        assert device.resolve_precision("auto") == expected
        assert device.resolve_precision("fp32") == "fp32"
        assert device.resolve_precision("bf16") == "bf16"


def test_cores_are_those_this_process_may_use():
    """64 workers in a container of two cores."""
    child = subprocess.run(
        [sys.executable, "-c", ONE_CORE], capture_output=True, text=True, check=True
    )
    assert child.stdout.split() == ["1", "False"]
    assert 1 <= device.cpu_count() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (2.0, 2), (1.5, 1), (0.25, 1), (64.0, 8)])
def test_a_container_s_quota_limits_the_cores(monkeypatch, quota, cores):
    """64 threads on two cores' worth of time: 62 wait at every barrier."""
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(device, "cpu_quota", lambda: quota)
    assert device.cpu_count() == cores


@pytest.mark.parametrize("text", ["0", "-5", "many", "1e4"])
def test_a_bound_on_tokens_that_is_no_number_is_refused(monkeypatch, text):
    """Ignored, it is believed to be in force until memory runs out."""
    assert device.max_tokens_per_pass() is None
    monkeypatch.setenv("DECANT_MAX_TOKENS_PER_PASS", "4096")
    assert device.max_tokens_per_pass() == 4096
    monkeypatch.setenv("DECANT_MAX_TOKENS_PER_PASS", text)
    with pytest.raises(UserError, match=r"DECANT_MAX_TOKENS_PER_PASS"):
        device.max_tokens_per_pass()


def test_a_way_to_compile_that_does_not_exist_is_refused(monkeypatch):
    assert device.compile_mode() == "auto"
    monkeypatch.setenv("DECANT_COMPILE", "graphs")
    assert device.compile_mode() == "graphs"
    monkeypatch.setenv("DECANT_COMPILE", "fast")
    with pytest.raises(UserError, match="auto, always, never, graphs"):
        device.compile_mode()


def test_threads_of_a_small_model_are_a_rule_of_its_size(monkeypatch):
    """A student would get other bits on a busy machine, or on one with more cores."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for cores in ("1", "64"):
        monkeypatch.setenv("OMP_NUM_THREADS", cores)
        assert device.trains_on_one_thread(884_736, 32)  # the quickstart's student
        assert not device.trains_on_one_thread(85_000_000, 32)


def test_processes_are_asked_for_or_one_a_gpu_and_never_nested(monkeypatch):
    """Eight ranks that start eight ranks each."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.process_count() == 1
    monkeypatch.setattr(device, "has_cuda", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5")
    assert device.process_count() == 3
    monkeypatch.setenv(device.PROCESSES, "2")
    assert device.process_count() == 2
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    assert device.process_count() == 1


def test_how_much_code_onednn_keeps_is_bounded_unless_its_user_says_otherwise():
    """A machine tuned for one model's sizes that silently makes their code anew in every pass."""
    names = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    show = f"import os, tasks.runtime.machine.device; print(*map(os.environ.get, {names}))"
    rest = {name: value for name, value in os.environ.items() if name not in names}
    for given, expected in ({}, "128 128"), ({names[0]: "4096"}, "4096 128"):
        found = subprocess.check_output([sys.executable, "-c", show], env=rest | given, text=True)
        assert found.strip() == expected
