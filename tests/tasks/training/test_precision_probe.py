"""The probe's figure is a fact to record, and contradicts only when bf16 is slower."""

from tasks.training.precision_probe import bf16_speedup, contradiction


def test_the_ratio_is_measured_once():
    """Two figures for one machine in one report."""
    assert bf16_speedup() > 0
    assert bf16_speedup() == bf16_speedup()


def test_only_a_slower_bf16_is_worth_a_word():
    """A warning on every run is read by nobody."""
    assert contradiction(1.0) is None
    assert contradiction(6.2) is None
    assert "2.0 times as long" in contradiction(0.5)
