"""Examples: teacher logits follow the example's id and the class's name, never a position."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.errors import ContractViolation
from tasks.corpus.tables import write_table
from tasks.training.examples import (
    RaggedIds,
    attach_signals,
    labelled,
    load_examples,
    pseudo_labels,
    unlabelled,
)


@pytest.fixture
def folders(tmp_path):
    """Tokens of three rows, and signals in another row order with another class order."""
    tokens, signals = tmp_path / "tokens", tmp_path / "signals"
    rows = pa.table(
        {
            "example_id": ["a", "b", "c"],
            "input_ids": pa.array([[1, 2], [3], [4, 5, 6]], pa.list_(pa.int32())),
            "label": pa.array([0, -1, 1], pa.int32()),
            "language": ["zh"] * 3,
        }
    )
    write_table(rows, tokens / "transfer" / "part-00000.parquet")
    logits = pa.FixedSizeListArray.from_arrays(
        pa.array(np.array([9, 1, 2, 7, 8, 3], dtype=np.float32)), 2
    )
    write_table(
        pa.table({"example_id": ["c", "a", "b"], "logits": logits}),
        signals / "transfer" / "part-00000.parquet",
    )
    (tokens / "labels.json").write_text(json.dumps({"labels": ["off", "on"]}))
    (signals / "labels.json").write_text(json.dumps({"labels": ["on", "off"]}))
    return tokens, signals


def test_signals_are_joined_by_id_and_classes_by_name(folders):
    """Logits attached by position or class index train on another example's answer."""
    tokens, signals = folders
    examples = attach_signals(load_examples(tokens, ["transfer"]), signals)
    assert examples.teacher_logits.tolist() == [[7.0, 2.0], [3.0, 8.0], [1.0, 9.0]]
    assert pseudo_labels(examples).labels.tolist() == [0, 1, 1]


def test_a_row_without_a_signal_is_refused(folders):
    """Joining what is missing with zeros teaches the uniform distribution."""
    tokens, signals = folders
    path = signals / "transfer" / "part-00000.parquet"
    logits = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2, dtype=np.float32)), 2)
    write_table(pa.table({"example_id": ["a"], "logits": logits}), path)
    with pytest.raises(ContractViolation, match="2 of 3 rows have no teacher signal"):
        attach_signals(load_examples(tokens, ["transfer"]), signals)


def test_a_teacher_of_other_classes_is_refused(folders):
    tokens, signals = folders
    (signals / "labels.json").write_text(json.dumps({"labels": ["on", "dim"]}))
    with pytest.raises(ContractViolation, match="2 classes"):
        attach_signals(load_examples(tokens, ["transfer"]), signals)


def test_ragged_ids_of_a_sliced_column_keep_their_texts():
    """An Arrow slice keeps its parent's buffers: offsets that start at 0 would shift every text."""
    column = pa.chunked_array([pa.array([[9, 9], [1, 2], [3]], pa.list_(pa.int32())).slice(1)])
    ids = RaggedIds.from_arrow(column)
    texts = [ids.values[a:b].tolist() for a, b in zip(ids.offsets, ids.offsets[1:], strict=False)]
    assert texts == [[1, 2], [3]]
    assert ids.lengths.tolist() == [2, 1]


def test_a_gold_label_student_learns_from_the_labelled_rows_alone(folders):
    """A step without one labelled row has no gradient: its backward pass raises."""
    tokens, signals = folders
    kept = labelled(attach_signals(load_examples(tokens, ["transfer"]), signals))
    offsets = kept.input_ids.offsets.tolist()
    texts = [kept.input_ids.values[a:b].tolist() for a, b in itertools.pairwise(offsets)]
    assert texts == [[1, 2], [4, 5, 6]]
    assert kept.labels.tolist() == [0, 1]
    assert kept.teacher_logits.tolist() == [[7.0, 2.0], [1.0, 9.0]]
    with pytest.raises(ContractViolation, match="none of 2 rows"):
        labelled(unlabelled(kept))
