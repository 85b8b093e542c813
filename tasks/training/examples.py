"""Training examples as flat arrays: token ids in one buffer, labels, teacher logits.

A text is a slice of one buffer, never a Python object. The buffers of a validation set are read
into memory (`load_examples`), those of what is trained on are mapped (`mapped_examples`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.errors import ContractViolation
from tasks.corpus.tables import read_table
from tasks.training.losses import IGNORE_INDEX


@dataclass(frozen=True)
class RaggedIds:
    """Token ids of many texts: text i is `values[offsets[i]:offsets[i + 1]]`.

    Args:
        values: int32 or uint16, (tokens,).
        offsets: int64, (texts + 1,).
        stored_lengths: int32, (texts,), if they need not be computed from the offsets.
    """

    values: np.ndarray
    offsets: np.ndarray
    stored_lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, int64 or int32, (texts,)."""
        return np.diff(self.offsets) if self.stored_lengths is None else self.stored_lengths

    @classmethod
    def from_arrow(cls, column: pa.ChunkedArray | pa.Array) -> RaggedIds:
        """View an Arrow list column, copying only to join its chunks."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps zero chunks apart
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
        offsets = np.asarray(array.offsets, dtype=np.int64)
        values = np.asarray(array.values, dtype=np.int32)
        return cls(values, offsets)


@dataclass(frozen=True)
class Examples:
    """Rows to train on or to score.

    Args:
        example_ids: Arrow strings, (rows,); None for mapped examples, which are joined already.
        input_ids: token ids.
        labels: int64, (rows,), IGNORE_INDEX where a row has none.
        teacher_logits: float32, (rows, classes), or None.
        label_names: class index → name.
        teacher_choices: int64, (rows,), argmax of the logits if it was stored.
    """

    example_ids: pa.ChunkedArray | None
    input_ids: RaggedIds
    labels: np.ndarray
    teacher_logits: np.ndarray | None
    label_names: tuple[str, ...]
    teacher_choices: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.input_ids)


def load_examples(tokens: Path, roles: Sequence[str], *, language: str | None = None) -> Examples:
    """Rows of `roles` from a tokens artifact, in file order.

    Args:
        tokens: the artifact's directory.
        roles: `train`, `transfer`, `validation`, `test`.
        language: keep only rows read in this language.
    """
    paths = [path for role in roles for path in sorted((tokens / role).glob("*.parquet"))]
    if not paths:
        raise no_rows(roles)
    table = pa.concat_tables([read_table(path) for path in paths])
    if language is not None:
        table = table.filter(pc.field("language") == language)
    return Examples(
        example_ids=table["example_id"],
        input_ids=RaggedIds.from_arrow(table["input_ids"]),
        labels=table["label"].to_numpy().astype(np.int64),
        teacher_logits=None,
        label_names=read_labels(tokens),
    )


def pseudo_labels(examples: Examples) -> Examples:
    """`examples` labelled by the teacher's first choice, whatever labels they carried."""
    assert examples.teacher_logits is not None, "pseudo-labels need teacher logits"
    choices = examples.teacher_choices
    if choices is None:
        choices = examples.teacher_logits.argmax(1).astype(np.int64)
    return replace(examples, labels=choices)


def unlabelled(examples: Examples) -> Examples:
    """`examples` without hard labels."""
    return replace(examples, labels=np.broadcast_to(np.int64(IGNORE_INDEX), len(examples)))


def no_rows(roles: Sequence[str]) -> ContractViolation:
    """The error for roles that have no rows to read."""
    return ContractViolation(
        f"the tokens hold no rows of role {' or '.join(roles)}",
        rule="training, validation and test each need at least one row",
        remedy="add a source with that role in the language this model reads",
    )


def read_labels(folder: Path) -> tuple[str, ...]:
    """Class names of an artifact, index order."""
    return tuple(json.loads((folder / "labels.json").read_text(encoding="utf-8"))["labels"])
