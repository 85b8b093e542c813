"""Training examples as flat arrays: token ids in one buffer, labels, teacher logits joined by id.

A text is a slice of one int32 buffer, so 100 million texts cost their tokens and 8 bytes each,
never a Python object. Teacher signals are joined on `example_id`: attaching them by position is how
other toolkits train on another example's logits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
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
        values: int32, (tokens,).
        offsets: int64, (texts + 1,).
    """

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, int64, (texts,)."""
        return np.diff(self.offsets)

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
        example_ids: Arrow strings, (rows,).
        input_ids: token ids.
        labels: int64, (rows,), IGNORE_INDEX where a row has none.
        teacher_logits: float32, (rows, classes), or None.
        label_names: class index → name.
    """

    example_ids: pa.ChunkedArray
    input_ids: RaggedIds
    labels: np.ndarray
    teacher_logits: np.ndarray | None
    label_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.input_ids)


def load_examples(tokens: Path, roles: Iterable[str], *, language: str | None = None) -> Examples:
    """Rows of `roles` from a tokens artifact, in file order.

    Args:
        tokens: the artifact's directory.
        roles: `train`, `transfer`, `validation`, `test`.
        language: keep only rows read in this language.
    """
    paths = [path for role in roles for path in sorted((tokens / role).glob("*.parquet"))]
    if not paths:
        raise ContractViolation(
            f"the tokens hold no rows of role {' or '.join(roles)}",
            rule="training, validation and test each need at least one row",
            remedy="add a source with that role in the language this model reads",
        )
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


def attach_signals(examples: Examples, signals: Path) -> Examples:
    """`examples` with teacher logits joined by example id and classes aligned by name.

    Raises: ContractViolation if a row has no signal or the teacher knows other classes.
    """
    teacher_names = read_labels(signals)
    if set(teacher_names) != set(examples.label_names):
        odd = sorted(set(teacher_names) ^ set(examples.label_names))
        raise ContractViolation(
            f"teacher and student differ in {len(odd)} classes, such as {odd[:3]}",
            rule="both must know the same label names (their order may differ)",
            remedy="use signals of a teacher fine-tuned on this corpus",
        )
    table = pa.concat_tables([read_table(path) for path in sorted(signals.glob("*/*.parquet"))])
    ids = table["example_id"].combine_chunks()
    lookup = pc.SetLookupOptions(value_set=ids)
    positions = pc.call_function("index_in", [examples.example_ids], lookup)
    if positions.null_count:
        raise ContractViolation(
            f"{positions.null_count} of {len(examples)} rows have no teacher signal",
            rule="every row trained on soft targets or pseudo-labels was read by the teacher",
            remedy="give these rows text in a language the teacher reads (parallel_text, or add "
            "theirs to the teacher's languages)",
        )
    flat = table["logits"].combine_chunks()
    logits = np.asarray(flat.flatten(), dtype=np.float32).reshape(len(flat), len(teacher_names))
    order = [teacher_names.index(name) for name in examples.label_names]
    aligned = logits[positions.to_numpy()][:, order]
    return Examples(
        examples.example_ids, examples.input_ids, examples.labels, aligned, examples.label_names
    )


def with_hard_labels(examples: Examples, labels: np.ndarray) -> Examples:
    """`examples` with their hard labels replaced: int64, (rows,)."""
    return Examples(
        examples.example_ids,
        examples.input_ids,
        labels,
        examples.teacher_logits,
        examples.label_names,
    )


def pseudo_labels(examples: Examples) -> Examples:
    """`examples` labelled by the teacher's first choice, whatever labels they carried."""
    assert examples.teacher_logits is not None, "pseudo-labels need teacher logits"
    return with_hard_labels(examples, examples.teacher_logits.argmax(1).astype(np.int64))


def unlabelled(examples: Examples) -> Examples:
    """`examples` without hard labels."""
    return with_hard_labels(examples, np.full(len(examples), IGNORE_INDEX, dtype=np.int64))


def labelled(examples: Examples) -> Examples:
    """The rows of `examples` that have a hard label.

    Raises: ContractViolation if none has one.
    """
    keep = examples.labels != IGNORE_INDEX
    if not keep.any():
        raise ContractViolation(
            f"none of {len(examples)} rows to train on has a gold label",
            rule="hard_labels: gold with alpha 0 learns from gold labels alone",
            remedy="map a label column for these rows, or set baselines.supervised to false",
        )
    ids, logits = examples.input_ids, examples.teacher_logits
    values = ids.values[ids.offsets[0] : ids.offsets[-1]][np.repeat(keep, ids.lengths)]
    offsets = np.concatenate([[0], np.cumsum(ids.lengths[keep])])
    return Examples(
        examples.example_ids.filter(pa.array(keep)),
        RaggedIds(values, offsets),
        examples.labels[keep],
        None if logits is None else logits[keep],
        examples.label_names,
    )


def read_labels(folder: Path) -> tuple[str, ...]:
    """Class names of an artifact, index order."""
    return tuple(json.loads((folder / "labels.json").read_text(encoding="utf-8"))["labels"])
