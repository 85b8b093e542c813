"""Examples: token ids as slices of one buffer, labels that were asked for."""

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.errors import ContractViolation
from tasks.training.examples import pseudo_labels, read_rows, unlabelled
from tasks.training.losses import IGNORE_INDEX
from tasks.training.ragged import RaggedIds


def test_ragged_ids_of_a_sliced_column_keep_their_texts():
    """An Arrow slice keeps its parent's buffers: offsets that start at 0 would shift every text."""
    column = pa.chunked_array([pa.array([[9, 9], [1, 2], [3]], pa.list_(pa.int32())).slice(1)])
    ids = RaggedIds.from_arrow(column)
    texts = [ids.values[a:b].tolist() for a, b in zip(ids.offsets, ids.offsets[1:], strict=False)]
    assert texts == [[1, 2], [3]]
    assert ids.lengths.tolist() == [2, 1]


def test_hard_labels_are_the_teachers_choice_or_none(toy):
    """A student meant to learn from its teacher was shown the gold labels."""
    examples = toy["examples"](rows=12)
    chosen = pseudo_labels(unlabelled(examples))
    assert np.array_equal(chosen.labels, examples.teacher_logits.argmax(1))
    assert (unlabelled(examples).labels[[0, 5, 11]] == IGNORE_INDEX).all()


def test_a_role_without_rows_is_refused(tmp_path):
    """Validation on nothing: a score of nan that early stopping never leaves."""
    with pytest.raises(ContractViolation, match="no rows of role validation"):
        read_rows(tmp_path, ["validation"])
