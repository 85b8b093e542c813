"""Teacher logits follow the example's id and the class's name, never a position."""

import json

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.errors import ContractViolation
from tasks.corpus.tables import write_table
from tasks.training.batching.signal_join import SignalJoin


def rows(*ids):
    return pa.table({"example_id": list(ids)})


@pytest.fixture
def signals(tmp_path):
    """Signals of three rows in two parts, classes in another order than the student's."""
    for part, rows in {
        "part-00000": {"c": [9, 1], "a": [2, 7]},
        "part-00001": {"b": [8, 3]},
    }.items():
        values = pa.array(np.array(list(rows.values()), dtype=np.float32).ravel())
        logits = pa.FixedSizeListArray.from_arrays(values, 2)
        table = pa.table({"example_id": list(rows), "logits": logits})
        write_table(table, tmp_path / "transfer" / f"{part}.parquet")
    (tmp_path / "labels.json").write_text(json.dumps({"labels": ["on", "off"]}))
    return tmp_path


def joined(join, part, *ids):
    return join.rows(part, rows(*ids))["logits"].to_pylist()


def test_signals_are_joined_by_id_and_classes_by_name(signals):
    """Logits attached by position or class index train on another example's answer."""
    join = SignalJoin(signals, ["off", "on"])
    assert joined(join, "transfer/part-00000.parquet", "a", "c") == [[2, 7], [9, 1]]
    assert join.order == (1, 0)


def test_a_class_is_decided_at_the_teacher_s_threshold_for_it(signals):
    """By position, each class gets another's threshold: pseudo-labels that no teacher gave."""
    assert SignalJoin(signals, ["off", "on"]).thresholds == {}
    (signals / "thresholds.json").write_text(json.dumps({"thresholds": [0.2, 0.7]}))  # on, off
    assert SignalJoin(signals, ["off", "on"]).thresholds["thresholds"].tolist() == [0.7, 0.2]
    (signals / "thresholds.json").write_text(json.dumps({"null_threshold": 1.5}))
    assert SignalJoin(signals, ["off", "on"]).thresholds == {"null_threshold": 1.5}


def test_a_signal_in_another_part_is_found(signals):
    """Rows that moved to another part, because one reader skipped some, counted as unread."""
    join = SignalJoin(signals, ["off", "on"])
    assert joined(join, "transfer/part-00000.parquet", "a", "b", "c") == [[2, 7], [8, 3], [9, 1]]
    assert joined(join, "train/part-00000.parquet", "c", "b") == [[9, 1], [8, 3]]


def test_a_row_without_a_signal_is_refused(signals):
    """Joining what is missing with zeros teaches the uniform distribution."""
    join = SignalJoin(signals, ["off", "on"])
    with pytest.raises(ContractViolation, match=r"2 of 3 rows of transfer/.* have no teacher sig"):
        join.rows("transfer/part-00000.parquet", rows("a", "x", "y"))


def test_a_teacher_of_other_classes_is_refused(signals):
    """Class 3 of the teacher trained as class 3 of the student, which is another intent."""
    with pytest.raises(ContractViolation, match="2 classes"):
        SignalJoin(signals, ["off", "dim"])


def test_a_window_is_joined_with_the_same_window(tmp_path):
    """The end of a long context compared with its beginning, as both have the example's id."""
    windows = {"example_id": ["b", "a", "a", "b"], "window": [1, 0, 1, 0], "at": [31, 20, 21, 30]}
    write_table(pa.table(windows), tmp_path / "transfer" / "part-00000.parquet")
    (tmp_path / "labels.json").write_text(json.dumps({"labels": []}))
    join = SignalJoin(tmp_path, [], key=("example_id", "window"))
    mine = pa.table({"example_id": ["a", "a", "b", "b"], "window": [0, 1, 0, 1]})
    assert join.rows("transfer/part-00000.parquet", mine)["at"].to_pylist() == [20, 21, 30, 31]


def test_bytes_are_joined_beyond_two_gibibytes(tmp_path):
    """The k likeliest of each token: Arrow counts bytes in 32 bits, and a take, which joins all
    pieces of a column, ended with an overflow at the first part of long texts."""
    for part, ids in {"part-00000": "ca", "part-00001": "b"}.items():
        table = pa.table({"example_id": [*ids], "topk": [one.encode() * 3 for one in ids]})
        write_table(table, tmp_path / "transfer" / f"{part}.parquet")
    (tmp_path / "labels.json").write_text(json.dumps({"labels": []}))
    join = SignalJoin(tmp_path, [])
    for ids in ("ac", "bac"):  # of one part, of two
        found = join.rows("transfer/part-00000.parquet", rows(*ids))["topk"]
        assert found.type == pa.large_binary()
        assert found.to_pylist() == [one.encode() * 3 for one in ids]
