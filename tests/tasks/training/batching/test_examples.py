"""Examples: token ids as slices of one buffer, labels that were asked for."""

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.errors import ContractViolation
from tasks.modeling.heads.units import Units
from tasks.training.batching.examples import Examples, pseudo_labels, read_rows, unlabelled
from tasks.training.batching.layouts import Layout
from tasks.training.batching.ragged import RaggedIds
from tasks.training.losses import IGNORE_INDEX


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


def test_passes_know_how_many_distributions_they_hold_and_the_longest():
    """A window cut short, or one too many: the answer spans of a pass land on other units."""
    counts, lengths = [2, 5, 1, 3], [6, 7, 5, 7]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    examples = Examples(
        example_ids=None,
        input_ids=RaggedIds(np.ones(sum(lengths), np.int32), np.cumsum([0, *lengths])),
        labels=np.zeros(sum(counts), np.int64),
        teacher_logits=None,
        label_names=("start", "end"),
        units=Units(offsets, np.zeros(sum(counts), np.int32)),
        distribution="units",
    )
    passes = list(examples.batches(np.array([0, 2, 3]), Layout("bucketed", 14), pad_token_id=0))
    # Longest first, two a pass: texts 3 and 0, then 2.
    assert [one.distributions for one in passes] == [(2, 3), (1, 1)]
    assert [one.text_of_answer_A.tolist() for one in passes] == [[0, 0, 0, 1, 1], [0]]


def test_a_role_without_rows_is_refused(tmp_path):
    """Validation on nothing: a score of nan that early stopping never leaves."""
    with pytest.raises(ContractViolation, match="no rows of role validation"):
        read_rows(tmp_path, ["validation"])
