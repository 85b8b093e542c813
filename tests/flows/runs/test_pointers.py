"""What is remembered of runs, where there is no room to remember it."""

import errno

import pytest

import flows.runs.pointers
from data_contracts.errors import MachineExhausted
from flows.runs.pointers import RunLog


def test_an_error_is_told_though_the_disk_has_no_room_for_its_record(tmp_path, monkeypatch):
    """`No space left` and our own code's lines in place of what was being written, and the remedy:
    the record of a run that a full disk has ended is written to that disk."""
    log = RunLog(tmp_path, "mine")

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def run():
        with log.run(("corpus", "teacher")) as running:
            running.step = "teacher"
            monkeypatch.setattr(flows.runs.pointers, "replace_file", full)
            raise MachineExhausted("teacher: no room left", remedy="free space")

    with pytest.raises(MachineExhausted) as raised:
        run()
    assert raised.value.remedy == "free space"
    record = log.last_run()
    # As after a kill: what says that it runs is a lock, which is gone.
    assert record.state == "running"
    assert not log.is_alive(record)
