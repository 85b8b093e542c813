"""`decant status` on runs that ended in every way."""

import pytest

from data_contracts.errors import UserError
from flows.runs.pointers import RunLog


def test_a_run_that_failed_before_its_first_step_names_none(decant):
    """`failed in None`: a person looks for a step of that name."""
    log = RunLog(decant.home, "mine")

    def fail(step):
        with log.run(("corpus",)) as running:
            running.step = step
            raise UserError("no room for it")

    with pytest.raises(UserError):
        fail(None)
    said = decant("status", check=0).stdout
    assert "mine: failed, " in said
    assert "no room for it" in said
    with pytest.raises(UserError):
        fail("corpus")
    assert "mine: failed in corpus, " in decant("status", check=0).stdout


def test_a_step_at_work_is_not_said_to_be_unreached(decant):
    """`teacher not reached` for the hour that it trains: a person starts it a second time."""
    log = RunLog(decant.home, "mine")
    with log.run(("corpus", "teacher")) as running:
        running.step = "teacher"
        said = decant("status", check=0).stdout
    assert "mine: running since " in said
    assert said.count("not finished") == 2
    assert "not reached" not in said
