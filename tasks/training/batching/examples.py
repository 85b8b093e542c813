"""Training examples as flat arrays, and the tensors of some of them: ids, labels, teacher logits.

A text is a slice of one buffer, never a Python object. The buffers of a validation set are read
into memory (`read_rows`, `examples_of`); those of what is trained on are mapped
(`mapped_examples`).

A text has one answer (its class) or, with `units`, one for each unit that is read out of it; labels
and teacher logits are held answer by answer, text after text.

Shapes: A answers; A = texts without units.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data_contracts.errors import ContractViolation
from tasks.corpus.tables import part_paths, read_table
from tasks.corpus.text.languages import in_language
from tasks.modeling.heads.joined_units import joined_units
from tasks.modeling.heads.units import Units
from tasks.modeling.texts import Texts
from tasks.problems import Problem
from tasks.problems.problem import Distribution
from tasks.training.batching.layouts import Layout
from tasks.training.batching.passes import Pass, make_passes, pad
from tasks.training.batching.ragged import RaggedIds
from tasks.training.losses import IGNORE_INDEX


@dataclass(frozen=True)
class Batch:
    """Tensors of one forward and backward pass: a step, or a part of one.

    Args:
        texts: B texts in any layout.
        labels_A: int64, IGNORE_INDEX where there is none; (A, C) where several may be right.
        teacher_logits_AC: float32 or None.
        text_of_answer_A: int64, which text each answer belongs to, where a softmax runs over the
            units of a text; None elsewhere.
        joined_A: then which of them are read at the token of the unit before them, bool.
        distributions: then the number of these texts and the answers of the longest.
        teacher_texts: the same B examples as the teacher reads them, padded; None unless it reads
            beside the student.
        groups_B: int64, where each text comes from; None unless that was asked for.
    """

    texts: Texts
    labels_A: Tensor
    teacher_logits_AC: Tensor | None
    text_of_answer_A: Tensor | None = None
    groups_B: Tensor | None = None
    teacher_texts: Texts | None = None
    distributions: tuple[int, int] | None = None
    joined_A: Tensor | None = None

    @property
    def num_answers(self) -> int:
        """A."""
        return len(self.labels_A)


@dataclass(frozen=True)
class Examples:
    """Rows to train on or to score.

    Args:
        example_ids: Arrow strings, (rows,); None for mapped examples, which are joined already.
        input_ids: token ids.
        labels: int64, (answers,), IGNORE_INDEX where an answer has none; (answers, classes) where
            several classes may be right.
        teacher_logits: float32, (answers, classes), or None.
        label_names: class index → name.
        teacher_choices: int64, as labels: what the teacher decides, or None.
        units: which tokens are read out, or None if each text is one answer.
        distribution: what a softmax runs over; see `tasks.problems.problem`.
        teacher_ids, teacher_pad_id: the same texts as the teacher reads them, if it reads beside
            the student, and its padding.
        groups, group_names: int64, (rows,), where each text comes from, if that was asked for.
    """

    example_ids: pa.ChunkedArray | None
    input_ids: RaggedIds
    labels: np.ndarray
    teacher_logits: np.ndarray | None
    label_names: tuple[str, ...]
    teacher_choices: np.ndarray | None = None
    units: Units | None = None
    distribution: Distribution = "classes"
    groups: np.ndarray | None = None
    group_names: tuple[str, ...] = ()
    teacher_ids: RaggedIds | None = None
    teacher_pad_id: int = 0

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def num_outputs(self) -> int:
        """C of a network that learns from them: classes, or the width of the teacher's vectors."""
        if self.distribution != "vectors":
            return len(self.label_names)
        assert self.teacher_logits is not None, "vectors are learned from a teacher's"
        return self.teacher_logits.shape[1]

    def at(self, step: int) -> Examples:
        """Themselves: every step reads them alike."""
        del step
        return self

    def answers_of(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of the answers of the texts `rows`, in the order of `rows`, int64."""
        return rows if self.units is None else self.units.of(rows)

    def normalizers(self, rows: np.ndarray) -> tuple[int, int]:
        """What loss sums over the texts `rows` are divided by: (all, labelled).

        Both count distributions: answers, or texts where a softmax runs over a text's units.
        """
        if self.units is not None and self.distribution == "units":
            first_answers = self.units.offsets[rows]
            return len(rows), int((self.labels[first_answers] != IGNORE_INDEX).sum())
        labels = self.labels[self.answers_of(rows)]
        first = labels if labels.ndim == 1 else labels[:, 0]
        return len(labels), int((first != IGNORE_INDEX).sum())

    def batches(
        self,
        rows: np.ndarray,
        layout: Layout,
        *,
        pad_token_id: int,
        texts: Texts | None = None,
    ) -> Iterator[Batch]:
        """The tensors of the texts `rows`, pass by pass.

        Args:
            texts: the texts in one padded pass, if that was laid out before.
        """
        teacher, units = self.teacher_logits, self.units
        if texts is not None:
            passes = iter([Pass(texts, np.arange(len(rows)))])
        else:
            passes = make_passes(
                self.input_ids, rows, layout, pad_token_id=pad_token_id, units=units
            )
        for one in passes:
            read = rows[one.members]
            answers = self.answers_of(read)
            text_of_answer = distributions = joined = None
            if units is not None and self.distribution == "units":
                counts = units.counts(read)
                text_of_answer = torch.from_numpy(np.repeat(np.arange(len(read)), counts))
                distributions = (len(read), int(counts.max()))
                firsts = np.cumsum(counts) - counts
                joined = torch.from_numpy(joined_units(units.positions[answers], firsts))
            yield Batch(
                one.texts,
                torch.from_numpy(self.labels[answers]),
                None if teacher is None else torch.from_numpy(teacher[answers]),
                text_of_answer,
                None if self.groups is None else torch.from_numpy(self.groups[read]),
                None
                if self.teacher_ids is None
                else Texts(*pad(self.teacher_ids, read, pad_token_id=self.teacher_pad_id)),
                distributions,
                joined,
            )


def read_rows(tokens: Path, roles: Sequence[str], *, language: str | None = None) -> pa.Table:
    """The tokens table of `roles`, in file order.

    Args:
        tokens: the artifact's directory.
        roles: `train`, `transfer`, `validation`, `test`.
        language: keep only rows read in this language.
    Raises: ContractViolation if there are none.
    """
    paths = part_paths(tokens, roles)
    if not paths:
        raise no_rows(roles)
    table = pa.concat_tables([read_table(path) for path in paths])
    if language is not None:
        table = table.filter(in_language(table["language"], language))
    return table


def count_tokens(tokens: Path, roles: Sequence[str], *, vocab_size: int) -> np.ndarray:
    """How often each token id occurs in the rows of `roles`, int64, (vocab_size,); part by part."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for path in part_paths(tokens, roles):
        ids = read_table(path, columns=["input_ids"])["input_ids"].combine_chunks().flatten()
        counts += np.bincount(np.asarray(ids), minlength=vocab_size)
    return counts


def examples_of(problem: Problem, table: pa.Table, label_names: Sequence[str]) -> Examples:
    """The rows of a tokens table as examples without a teacher."""
    answers = problem.answers(table, num_labels=len(label_names))
    return Examples(
        example_ids=table["example_id"],
        input_ids=RaggedIds.from_arrow(table["input_ids"]),
        labels=answers.labels,
        teacher_logits=None,
        label_names=tuple(label_names),
        units=answers.units,
        distribution=problem.distribution,
    )


def pseudo_labels(examples: Examples) -> Examples:
    """`examples` labelled by what the teacher decides, whatever labels they carried."""
    assert examples.teacher_choices is not None, "pseudo-labels need a teacher's decisions"
    return replace(examples, labels=examples.teacher_choices)


def unlabelled(examples: Examples) -> Examples:
    """`examples` without hard labels."""
    nothing = np.broadcast_to(np.int64(IGNORE_INDEX), examples.labels.shape)
    return replace(examples, labels=nothing)


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
