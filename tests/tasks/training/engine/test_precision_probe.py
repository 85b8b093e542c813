"""The probe's figure is a fact to record, and contradicts only when bf16 is slower."""

from tasks.runtime.progress import SilentProgress
from tasks.training.engine import precision_probe
from tasks.training.engine.precision_probe import bf16_speedup, contradiction, precision_facts


def test_the_ratio_is_measured_once():
    """Two figures for one machine in one report."""
    assert bf16_speedup() > 0
    assert bf16_speedup() == bf16_speedup()


def test_only_a_slower_bf16_is_worth_a_word():
    """A warning on every run is read by nobody."""
    assert contradiction(1.0) is None
    assert contradiction(6.2) is None
    assert "2.0 times as long" in contradiction(0.5)


class Hears(SilentProgress):
    """A listener that remembers."""

    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


def test_a_slower_bf16_is_recorded_and_told(monkeypatch):
    """A flag that promises what a virtual machine does not keep: twice the time, and no word."""
    monkeypatch.setattr(precision_probe, "has_cuda", lambda: False)
    monkeypatch.setattr(precision_probe, "bf16_speedup", lambda: 0.5)
    listener = Hears()
    assert precision_facts("bf16", listener) == {"bf16_speedup": 0.5}
    assert len(listener.said) == 1
    assert "2.0 times as long" in listener.said[0]
    assert precision_facts("fp32", listener) == {}
    assert len(listener.said) == 1
