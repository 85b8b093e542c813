"""A thing is loaded once for those who ask one after another, and then its memory is free again."""

import gc
import time
import weakref

import pytest

from tasks.runtime.machine.keeping import Kept


class Model:
    """Something large, by its name."""

    def __init__(self, name):
        self.name = name


class Loads:
    """Loads models, and knows which of them are still in memory."""

    def __init__(self):
        self.made = []

    def __call__(self, name):
        assert not self.alive(), "two models at once"
        model = Model(name)
        self.made.append(weakref.ref(model))
        return model

    def alive(self):
        gc.collect()
        return [one().name for one in self.made if one() is not None]


def test_who_asks_again_in_time_has_the_same_and_another_takes_its_place():
    """A teacher of gigabytes loaded for each of a thousand parts, or two of them at once."""
    loads = Loads()
    kept = Kept(loads)
    for name in ("a", "a", "b", "b", "a"):
        with kept.using(name) as model:
            assert model.name == name
            assert loads.alive() == [name]
        del model
    assert len(loads.made) == 3
    kept.drop()
    assert loads.alive() == []


def test_what_nobody_uses_any_more_is_given_up_without_being_told():
    """Processes that hold a teacher each while students are trained for hours."""
    loads = Loads()
    kept = Kept(loads, idle_seconds=0.05)
    for _ in range(2):
        with kept.using("a") as model:
            time.sleep(0.2)  # in use for longer than it may be idle
            assert loads.alive() == ["a"]
        del model
        deadline = time.monotonic() + 60
        while loads.alive():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert len(loads.made) == 2


def test_a_failure_leaves_nothing_kept():
    """A half-loaded teacher handed to the next part."""
    kept = Kept(Loads())
    with pytest.raises(TypeError):
        kept.using("a", "b").__enter__()
    with kept.using("a") as model:
        kept.drop()
        assert model.name == "a"  # to the end of the block
